//! The CRIU that is used: where it is, its version, and whether it works here.
//!
//! `criu check` is no test: version 4.1.1 passes it on kernels on which it fails at the first TCP
//! socket. Only a dump and a restore of a real process count.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::{error::Elapsed, timeout};

use super::SUBCOMMAND;
use super::probe::{Line, Stage, Step};
use crate::base::elf;

/// The place of the CRIU that `ci/criu` builds.
const BUILT: &str = "/usr/local/lib/crane/criu";
/// Names another CRIU.
const VARIABLE: &str = "CRANE_CRIU";
const OLDEST: CriuVersion = CriuVersion([4, 2, 0]);

const VERSION_WITHIN: Duration = Duration::from_secs(2);
const PROBE_WITHIN: Duration = Duration::from_secs(10);
/// The time for the processes of a probe to end once they were killed.
const END_WITHIN: Duration = Duration::from_secs(2);

/// A version of CRIU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct CriuVersion([u32; 3]);

impl CriuVersion {
    /// Reads the version from the output of `criu --version`.
    fn parse(output: &str) -> Option<Self> {
        let text = output.lines().find_map(|line| line.strip_prefix("Version: "))?;
        let mut numbers = text.trim().split('.');
        let first = numbers.next()?.parse().ok()?;
        // Between releases, it ends in other words.
        let mut next = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Some(Self([first, next(), next()]))
    }
}

impl fmt::Display for CriuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third] = self.0;
        write!(f, "{first}.{second}")?;
        if third == 0 { Ok(()) } else { write!(f, ".{third}") }
    }
}

/// A CRIU that was found, and is new enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Criu {
    path: PathBuf,
    version: CriuVersion,
}

impl fmt::Display for Criu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "criu {} at {}", self.version, self.path.display())
    }
}

/// How long CRIU took in a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ProbeTimes {
    /// The dump.
    pub(crate) dump: Duration,
    /// The restore.
    pub(crate) restore: Duration,
}

/// The reason why there are no checkpoints here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum CriuError {
    /// No CRIU is in the usual places.
    NotFound,
    /// The path that the operator named is no program.
    NotExecutable(PathBuf),
    /// The program does not give its version, for this reason.
    NoVersion(PathBuf, String),
    /// The CRIU is too old.
    Old(Criu),
    /// The CRIU, which runs with all rights in a server's cell, would load libraries from there,
    /// or is a script.
    Dynamic(Criu),
    /// The probe could not be started, for this reason.
    NoProbe(String),
    /// This step of the probe failed, for this reason.
    Failed(Criu, Step, String),
    /// This step of the probe did not end in time.
    Slow(Criu, Step),
}

impl Criu {
    /// Finds the CRIU that the operator named by option or variable, or else the one that `ci/criu`
    /// built, or else the one in `PATH`.
    ///
    /// # Errors
    /// Returns why there is none that can be used.
    pub(crate) async fn find(named: Option<&Path>) -> Result<Self, CriuError> {
        let variable = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        let named = named.map(Path::to_path_buf).or_else(|| variable.map(PathBuf::from));
        let path = locate(named, Path::new(BUILT), std::env::var_os("PATH"))?;
        let mut command = Command::new(&path);
        command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
        let output = match timeout(VERSION_WITHIN, command.output()).await {
            Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Ok(Err(error)) => return Err(CriuError::NoVersion(path, error.to_string())),
            Err(Elapsed { .. }) => {
                return Err(CriuError::NoVersion(path, "it does not end".to_string()));
            }
        };
        let Some(version) = CriuVersion::parse(&output) else {
            let why = "`--version` prints none".to_string();
            return Err(CriuError::NoVersion(path, why));
        };
        let criu = Self { path, version };
        match () {
            () if version < OLDEST => Err(CriuError::Old(criu)),
            () if !elf::is_static(&criu.path) => Err(CriuError::Dynamic(criu)),
            () => Ok(criu),
        }
    }

    /// Returns the program's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Dumps and restores a small process: it has threads, listens on TCP, and runs in namespaces
    /// of its own. Takes at most a few seconds, and leaves nothing behind.
    ///
    /// # Errors
    /// Returns the step that failed, and why.
    pub(crate) async fn probe(&self) -> Result<ProbeTimes, CriuError> {
        let not_started = |error: std::io::Error| CriuError::NoProbe(error.to_string());
        let mut child = Command::new("/proc/self/exe")
            .arg(SUBCOMMAND)
            .arg(Stage::Whole.word())
            .arg(&self.path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(not_started)?;
        let mut lines = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut output = Vec::new();
        let in_time = timeout(PROBE_WITHIN, lines.read_to_end(&mut output)).await.is_ok();
        if !in_time {
            let _ = child.start_kill();
            // The output ends with the last process of the probe.
            let _ = timeout(END_WITHIN, lines.read_to_end(&mut output)).await;
        }
        let _ = timeout(END_WITHIN, child.wait()).await;
        let (step, outcome) = read_lines(&String::from_utf8_lossy(&output));
        match outcome {
            Some(Ok(times)) => Ok(times),
            Some(Err(why)) => Err(CriuError::Failed(self.clone(), step, why)),
            None if in_time => {
                let why = "the probe was ended from outside".to_string();
                Err(CriuError::Failed(self.clone(), step, why))
            }
            None => Err(CriuError::Slow(self.clone(), step)),
        }
    }
}

/// Reads a probe's output: the last step that began, and how the probe ended if it said so.
fn read_lines(output: &str) -> (Step, Option<Result<ProbeTimes, String>>) {
    let mut times = ProbeTimes::default();
    let (mut last, mut outcome) = (Step::Namespaces, None);
    for line in output.lines().filter_map(Line::parse) {
        match line {
            Line::Begins(step) => last = step,
            Line::Took(milliseconds) if last == Step::Dump => {
                times.dump = Duration::from_millis(milliseconds);
            }
            Line::Took(milliseconds) => times.restore = Duration::from_millis(milliseconds),
            Line::Failed(why) => outcome = Some(Err(why)),
            Line::Passed => outcome = Some(Ok(times)),
        }
    }
    (last, outcome)
}

/// Returns the path of the CRIU to use: the one that is named, or else `built` or the first one in
/// the directories of `search`.
fn locate(
    named: Option<PathBuf>,
    built: &Path,
    search: Option<OsString>,
) -> Result<PathBuf, CriuError> {
    if let Some(path) = named {
        // Without a slash, the name would be looked up in PATH by exec alone.
        return match std::path::absolute(&path) {
            Ok(absolute) if is_program(&absolute) => Ok(absolute),
            _ => Err(CriuError::NotExecutable(path)),
        };
    }
    let search = search.unwrap_or_default();
    let in_search = directories(&search).map(|directory| directory.join("criu"));
    let mut places = [built.to_path_buf()].into_iter().chain(in_search);
    places.find(|path| is_program(path)).ok_or(CriuError::NotFound)
}

/// Returns the directories of a search path whose names do not depend on the working directory.
fn directories(search: &OsStr) -> impl Iterator<Item = PathBuf> {
    std::env::split_paths(search).filter(|directory| directory.is_absolute())
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The remedy for a CRIU that does not work.
const ANOTHER: &str = "`ci/criu` in crane's repository builds one that is known to work, and \
                       --criu PATH (or CRANE_CRIU) tries another";

impl fmt::Display for CriuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => write!(
                f,
                "no criu is found, neither at {BUILT} nor in PATH: `ci/criu` in crane's repository \
                 builds one there, and --criu PATH (or {VARIABLE}) names another"
            ),
            Self::NotExecutable(path) => write!(
                f,
                "{} is no program: --criu and {VARIABLE} take the file of a criu, and without them \
                 the one that `ci/criu` builds is used",
                path.display()
            ),
            Self::NoVersion(path, why) => {
                write!(f, "{} gives no version of criu: {why}; {ANOTHER}", path.display())
            }
            Self::Old(criu) => {
                write!(f, "{criu} is too old: {OLDEST} or newer is needed; {ANOTHER}")
            }
            Self::Dynamic(criu) => write!(
                f,
                "{criu} is not statically linked: it would execute a server's files with the \
                 rights of this replica; {ANOTHER}"
            ),
            Self::NoProbe(why) => write!(f, "the probe does not start: {why}"),
            Self::Failed(_, Step::Namespaces, why) => write!(
                f,
                "no namespaces for a probe: {why}; checkpoints need root, in a container with \
                 CAP_SYS_ADMIN"
            ),
            Self::Failed(_, Step::Server, why) => {
                write!(f, "the process to dump does not serve: {why}")
            }
            Self::Failed(criu, Step::Dump, why) => {
                write!(f, "{criu} cannot dump a process here: {why}; {ANOTHER}")
            }
            Self::Failed(criu, Step::Restore, why) => {
                write!(f, "{criu} cannot restore a process here: {why}; {ANOTHER}")
            }
            Self::Failed(criu, Step::Answer, why) => {
                write!(f, "a process that {criu} has restored does not serve: {why}; {ANOTHER}")
            }
            Self::Slow(criu, step) => {
                let doing = match step {
                    Step::Namespaces => "making namespaces",
                    Step::Server => "starting a process",
                    Step::Dump => "dumping a process",
                    Step::Restore => "restoring a process",
                    Step::Answer => "waiting for the restored process",
                };
                let limit = PROBE_WITHIN.as_secs();
                write!(
                    f,
                    "the probe of {criu} has not ended in {limit} s, while {doing}; {ANOTHER}"
                )
            }
        }
    }
}

impl std::error::Error for CriuError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let version = |text: &str| CriuVersion::parse(text);
        assert_eq!(version("Version: 4.2.1\nGitID: v4.2.1\n"), Some(CriuVersion([4, 2, 1])));
        assert_eq!(version("Version: 4.2\n").unwrap().to_string(), "4.2");
        assert_eq!(version("Version: 3.17.1-dirty\n"), Some(CriuVersion([3, 17, 0])));
        assert!(version("Version: 4.1.1\n").unwrap() < OLDEST);
        assert!(version("Version: 4.2\n").unwrap() >= OLDEST);
        assert!(version("Version: 10.0\n").unwrap() > OLDEST);
        assert_eq!(version("Version: x\n"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn a_named_criu_comes_before_the_built_one_and_that_before_the_search_path() {
        let (program, missing) = (PathBuf::from("/bin/sh"), PathBuf::from("/no/criu"));
        let search = || Some(OsString::from("/no:relative:/usr/bin"));
        assert_eq!(locate(Some("/bin/true".into()), &program, search()), Ok("/bin/true".into()));
        assert_eq!(locate(None, &program, search()), Ok(program.clone()));
        assert_eq!(locate(None, &missing, search()), Err(CriuError::NotFound));
        assert_eq!(locate(None, &missing, None), Err(CriuError::NotFound));
        let named = locate(Some(missing.clone()), &program, search());
        assert_eq!(named, Err(CriuError::NotExecutable(missing)));
        // A file that cannot be executed, and a directory.
        for path in ["/etc/passwd", "/etc"] {
            let named = locate(Some(path.into()), &program, None);
            assert_eq!(named, Err(CriuError::NotExecutable(path.into())));
        }
    }

    #[test]
    fn a_probe_ends_as_its_lines_say() {
        let begun = "begins namespaces\nbegins server\nbegins dump\ntook 85\nbegins restore\n";
        let passed = format!("{begun}took 40\nbegins answer\npassed\n");
        let times =
            ProbeTimes { dump: Duration::from_millis(85), restore: Duration::from_millis(40) };
        assert_eq!(read_lines(&passed), (Step::Answer, Some(Ok(times))));
        assert_eq!(read_lines(begun), (Step::Restore, None));
        let failed = format!("{begun}failed a reason\n");
        assert_eq!(read_lines(&failed), (Step::Restore, Some(Err("a reason".into()))));
        assert_eq!(read_lines(""), (Step::Namespaces, None));
    }

    #[test]
    fn every_error_names_a_remedy() {
        let criu = Criu { path: "/usr/sbin/criu".into(), version: CriuVersion([4, 1, 1]) };
        let failed = |step| CriuError::Failed(criu.clone(), step, "a reason".into());
        for error in [
            CriuError::NotFound,
            CriuError::NotExecutable("/x".into()),
            CriuError::NoVersion("/x".into(), "a reason".into()),
            CriuError::Old(criu.clone()),
            CriuError::Dynamic(criu.clone()),
            failed(Step::Dump),
            failed(Step::Restore),
            failed(Step::Answer),
            CriuError::Slow(criu.clone(), Step::Dump),
        ] {
            let text = error.to_string();
            assert!(text.contains("`ci/criu`") && text.contains("--criu"), "{text}");
        }
        assert!(failed(Step::Namespaces).to_string().contains("root"));
        let text = CriuError::Old(criu).to_string();
        assert!(
            text.starts_with("criu 4.1.1 at /usr/sbin/criu is too old: 4.2 or newer"),
            "{text}"
        );
    }
}
