//! Servers of several processes, as their packages have them: their files, and their commands.
//! Each counts in a way that all of its processes share.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::binary::programs;
use super::machine::free_port;
use super::program::{Program, base, small_page, words};

/// A language of the scripts that count in a file, one process for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// A shell, which runs a program for each step.
    Sh,
    /// Perl.
    Perl,
    /// PHP, by its program for CGI.
    Php,
}

impl Script {
    /// Returns the name of the script in `frontend-test/programs`.
    fn file(self) -> &'static str {
        match self {
            Self::Sh => "count.sh",
            Self::Perl => "count.cgi",
            Self::Php => "count.php",
        }
    }
}

/// Puts a script that counts, and its count, into a program's folder, where any user may run it.
///
/// # Panics
///
/// Panics if they cannot be written.
fn add_script(base: &Path, script: Script) {
    let file = script.file();
    fs::copy(programs().join(file), base.join(file)).expect("the script");
    fs::write(base.join("count"), "0").expect("the count");
    open_to_all(base);
    let mode =
        |name: &str, mode| fs::set_permissions(base.join(name), PermissionsExt::from_mode(mode));
    mode(file, 0o755).and_then(|()| mode("count", 0o666)).expect("modes");
}

/// Returns the path of a program, if this machine has it.
fn path(program: &str) -> Result<String, String> {
    if Path::new(program).exists() { Ok(program.to_owned()) } else { Err(format!("no {program}")) }
}

/// Returns Debian's PostgreSQL, in a fresh data directory, with a user `app` that may do
/// everything, from everywhere, without a password. It runs as user `postgres`, by a launcher,
/// because it does not as root.
///
/// # Errors
///
/// Returns an error if this machine has none.
///
/// # Panics
///
/// Panics if the data directory cannot be made.
pub fn postgresql(folder: &Path) -> Result<Program, String> {
    let versions = fs::read_dir("/usr/lib/postgresql").map_err(|error| error.to_string())?;
    let version = versions.flatten().next().ok_or("no version of PostgreSQL")?;
    let programs = version.path().join("bin");
    let base = base(folder, "postgresql");
    let launcher = "/usr/bin/setpriv --reuid postgres --regid postgres --clear-groups";
    let set_up = format!(
        "chown postgres {base} && cd {base} && {launcher} {}/initdb -D data -A trust -U app \
         --no-sync && echo 'host all all all trust' >> data/pg_hba.conf",
        programs.display(),
        base = base.display(),
    );
    open_to_all(&base);
    let made = Command::new("sh").args(["-c", &set_up]).output().expect("sh");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    let mut command = words(launcher);
    command.push(programs.join("postgres").display().to_string());
    let options = format!(
        "-D data -p {port} -c listen_addresses=* -c unix_socket_directories= \
         -c shared_buffers=16MB -c max_connections=32"
    );
    command.extend(words(&options));
    Ok(Program { name: "postgresql", command, port, base })
}

/// Returns Debian's Apache with a module of processes, which answers each request by a script that
/// counts in a file.
///
/// # Panics
///
/// Panics if its files cannot be written.
#[must_use]
pub fn apache(folder: &Path, processes: &str) -> Program {
    let (base, port) = (base(folder, "apache"), free_port());
    let place = base.display();
    let cgi = if processes == "prefork" { "cgi" } else { "cgid" };
    let modules = format!("mpm_{processes} authz_core dir mime alias env {cgi}");
    let modules: String = modules
        .split_whitespace()
        .map(|it| format!("LoadModule {it}_module /usr/lib/apache2/modules/mod_{it}.so\n"))
        .collect();
    let options = format!(
        "ServerRoot {place}\n{modules}Listen {port}\nServerName localhost\nUser www-data\n\
         Group www-data\nPidFile /run/apache.pid\nErrorLog /dev/stderr\nTypesConfig /dev/null\n\
         KeepAlive On\nSetEnv ap_trust_cgilike_cl 1\nMaxKeepAliveRequests 0\nDocumentRoot {place}\n\
         ScriptAlias / {place}/count.cgi/\n{}\
         <Directory {place}>\nRequire all granted\n</Directory>\n",
        if cgi == "cgid" { "ScriptSock /run/cgid.sock\n" } else { "" },
    );
    fs::write(base.join("apache.conf"), options).expect("the options");
    add_script(&base, Script::Perl);
    let command = format!("/usr/sbin/apache2 -f {place}/apache.conf -DFOREGROUND");
    Program { name: "apache", command: words(&command), port, base }
}

/// Lets all users look into a program's folder, and those around it that are the test's.
fn open_to_all(base: &Path) {
    for folder in base.ancestors().take(3) {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder, mode).expect("the mode of a folder");
    }
}

/// Returns Debian's nginx with four workers, which counts the requests of all of them itself.
///
/// # Errors
///
/// Returns an error if this machine has none.
///
/// # Panics
///
/// Panics if its files cannot be written.
pub fn nginx(folder: &Path) -> Result<Program, String> {
    nginx_with(folder, 4, "location / { stub_status; }")
}

/// Returns Debian's nginx with some workers, and a small page.
///
/// # Errors
///
/// Returns an error if this machine has none.
///
/// # Panics
///
/// Panics if its files cannot be written.
pub fn nginx_with_page(folder: &Path, workers: u32) -> Result<Program, String> {
    let program = nginx_with(folder, workers, "root www;")?;
    fs::create_dir_all(program.base.join("www")).expect("the page's folder");
    fs::write(program.base.join("www/index.html"), small_page()).expect("the page");
    let options = program.base.join("nginx.conf");
    let text = fs::read_to_string(&options).expect("the options");
    let root = format!("root {};", program.base.join("www").display());
    fs::write(options, text.replace("root www;", &root)).expect("the options");
    Ok(program)
}

fn nginx_with(folder: &Path, workers: u32, location: &str) -> Result<Program, String> {
    let nginx = path("/usr/sbin/nginx")?;
    let (base, port) = (base(folder, "nginx"), free_port());
    let server = nginx_options(&base, port, workers, location);
    open_to_all(&base);
    Ok(Program { name: "nginx", command: words(&format!("{nginx} -c {server}")), port, base })
}

/// Returns Debian's nginx in front of Debian's PHP, both started by a shell: two masters, with four
/// workers each, that talk by a Unix socket. A worker of PHP's ends after some requests.
///
/// # Errors
///
/// Returns an error if this machine has not both.
///
/// # Panics
///
/// Panics if its files cannot be written.
pub fn nginx_and_php(folder: &Path) -> Result<Program, String> {
    let nginx = path("/usr/sbin/nginx")?;
    let php = path("/usr/sbin/php-fpm8.2")?;
    let (base, port) = (base(folder, "php"), free_port());
    let place = base.display().to_string();
    let pass = format!(
        "location / {{ fastcgi_pass unix:/run/php.sock; fastcgi_keep_conn off; \
         fastcgi_param SCRIPT_FILENAME {place}/count.php; \
         fastcgi_param REQUEST_METHOD $request_method; }}"
    );
    let server = nginx_options(&base, port, 4, &pass);
    let pool = "[global]\nerror_log = /dev/stderr\ndaemonize = no\n[www]\nuser = www-data\n\
         group = www-data\nlisten = /run/php.sock\nlisten.owner = www-data\npm = static\n\
         pm.max_children = 4\npm.max_requests = 50\n";
    fs::write(base.join("php.conf"), pool).expect("the options");
    add_script(&base, Script::Php);
    let both = format!("{php} -F -y {place}/php.conf & exec {nginx} -c {server}");
    let command = vec!["/bin/sh".to_owned(), "-c".to_owned(), both];
    Ok(Program { name: "nginx and php", command, port, base })
}

/// Writes the options of nginx for one place, and returns their path.
fn nginx_options(base: &Path, port: u16, workers: u32, location: &str) -> String {
    let place = base.display();
    let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {place}/temporary;\n"))
        .concat();
    let options = format!(
        "daemon off;\nuser www-data;\nworker_processes {workers};\npid /run/nginx.pid;\n\
         error_log stderr;\nevents {{ worker_connections 256; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 1000000;\n{folders}\
         server {{ listen {port}; {location} }}\n}}\n"
    );
    let path = base.join("nginx.conf");
    fs::write(&path, options).expect("the options");
    path.display().to_string()
}

/// Returns Debian's lighttpd, which answers each request by a script.
///
/// # Errors
///
/// Returns an error if this machine lacks it or the script's language.
///
/// # Panics
///
/// Panics if its files cannot be written.
pub fn lighttpd(folder: &Path, script: Script) -> Result<Program, String> {
    let lighttpd = path("/usr/sbin/lighttpd")?;
    let (base, port) = (base(folder, "lighttpd"), free_port());
    let (place, file) = (base.display().to_string(), script.file());
    let interpreter = match script {
        Script::Php => path("/usr/bin/php-cgi")?,
        Script::Sh | Script::Perl => String::new(),
    };
    let options = format!(
        "server.document-root = \"{place}\"\nserver.port = {port}\n\
         server.username = \"www-data\"\nserver.modules = (\"mod_cgi\")\n\
         server.max-keep-alive-requests = 60000\nindex-file.names = (\"{file}\")\n\
         server.upload-dirs = (\"{place}\")\n\
         cgi.assign = (\"{file}\" => \"{interpreter}\")\n"
    );
    fs::write(base.join("lighttpd.conf"), options).expect("the options");
    add_script(&base, script);
    let command = format!("{lighttpd} -D -f {place}/lighttpd.conf");
    Ok(Program { name: "lighttpd", command: words(&command), port, base })
}

/// Returns Debian's civetweb, which answers each request by a script.
///
/// # Errors
///
/// Returns an error if this machine lacks the script's language.
///
/// # Panics
///
/// Panics if its files cannot be written.
pub fn civetweb(folder: &Path, script: Script) -> Result<Program, String> {
    let (base, port) = (base(folder, "civetweb-cgi"), free_port());
    let (place, file) = (base.display().to_string(), script.file());
    let mut command = words(&format!(
        "/usr/bin/civetweb -document_root {place} -listening_ports {port} -num_threads 12 \
         -enable_keep_alive yes -keep_alive_timeout_ms 60000 -index_files {file} \
         -cgi_pattern **{file}$"
    ));
    if script == Script::Php {
        let php = path("/usr/bin/php-cgi")?;
        command.extend(words(&format!("-cgi_interpreter {php}")));
        command.extend(words("-cgi_environment REDIRECT_STATUS=200"));
    }
    add_script(&base, script);
    Ok(Program { name: "civetweb", command, port, base })
}

/// Returns Debian's vsftpd, which has two processes for each client, and lets it make folders.
///
/// # Errors
///
/// Returns an error if this machine has none.
///
/// # Panics
///
/// Panics if its files cannot be made.
pub fn vsftpd(folder: &Path) -> Result<Program, String> {
    let vsftpd = path("/usr/sbin/vsftpd")?;
    let (base, port) = (base(folder, "vsftpd"), free_port());
    let place = base.display();
    let options = format!(
        "listen=YES\nlisten_port={port}\nbackground=NO\nanonymous_enable=YES\n\
         local_enable=NO\nwrite_enable=YES\nanon_mkdir_write_enable=YES\n\
         anon_root={place}/ftp\nno_anon_password=YES\nsecure_chroot_dir={place}/empty\n\
         seccomp_sandbox=NO\nxferlog_enable=NO\nftp_username=www-data\nnopriv_user=www-data\n\
         anon_world_readable_only=NO\n"
    );
    fs::write(base.join("vsftpd.conf"), options).expect("the options");
    fs::create_dir_all(base.join("empty")).expect("a folder");
    let set_up = "mkdir -p ftp/made && chown www-data ftp/made && chmod 555 ftp empty";
    let made = Command::new("sh").args(["-c", set_up]).current_dir(&base).status().expect("sh");
    assert!(made.success(), "the folders");
    open_to_all(&base);
    let command = format!("{vsftpd} {place}/vsftpd.conf");
    Ok(Program { name: "vsftpd", command: words(&command), port, base })
}
