//! The probe of CRIU: whether a process can be dumped and restored here, and what is said if not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::machine::Machine;

/// Runs the probe with these arguments, and without the tester's own CRANE_CRIU.
fn probe(arguments: &[&Path]) -> Output {
    Command::new(crane_linux())
        .args(["checkpoint", "probe"])
        .args(arguments)
        .env_remove("CRANE_CRIU")
        .output()
        .expect("crane-linux")
}

/// Returns the text for the operator.
fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that checkpoints were refused with status 1, and one line that has all `words`.
#[track_caller]
fn assert_refused(output: &Output, words: &[&str]) {
    let text = errors(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

/// Makes a program that behaves as `script` says, in the place of a criu.
fn pretend(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("criu");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    path
}

#[test]
fn the_probe_of_checkpoints_works_or_says_what_is_missing() {
    let _machine = Machine::take("checkpoint-probe");
    let output = probe(&[]);
    if errors(&output).contains("no criu is found") {
        assert_refused(&output, &["/usr/local/lib/crane/criu", "PATH", "`ci/criu`", "--criu"]);
        return;
    }
    assert!(output.status.success(), "{}", errors(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let [criu, verdict] = lines[..] else { panic!("not two lines:\n{text}") };
    assert!(criu.starts_with("criu ") && criu.contains(" at /"), "{criu}");
    assert!(verdict.starts_with("checkpoints work here"), "{verdict}");
}

#[test]
fn a_criu_that_cannot_work_is_refused_with_the_reason() {
    let machine = Machine::take("checkpoint-refused");
    let option = Path::new("--criu");
    let run = |script: &str| probe(&[option, &pretend(machine.folder(), script)]);
    assert_refused(&probe(&[option, Path::new("/no/criu")]), &["/no/criu", "is no program"]);
    assert_refused(&run("echo 'Version: 4.1.1'"), &["criu 4.1.1", "too old", "4.2", "`ci/criu`"]);
    assert_refused(&run("echo usage"), &["no version", "`ci/criu`"]);
    // A script, or a program that loads libraries, would find those of the server.
    let version = "exec echo 'Version: 4.9'";
    assert_refused(&run(version), &["criu 4.9", "not statically linked", "`ci/criu`"]);
    // A new version that fails. Where namespaces are refused, the probe does not come that far.
    let source = machine.folder().join("fails.c");
    let text = "#include <stdio.h>\n#include <string.h>\nint main(int n, char **a) {\n\
                if (!strcmp(a[n - 1], \"--version\")) return !puts(\"Version: 4.9\");\n\
                puts(\"its reason\");\nreturn 1; }\n";
    fs::write(&source, text).expect("a source");
    let fails = |flag: &str| {
        let program = machine.folder().join("fails");
        let made = Command::new("cc").args([flag, "-o"]).arg(&program).arg(&source).status();
        assert!(made.expect("cc").success());
        probe(&[option, &program])
    };
    assert_refused(&fails("-O0"), &["criu 4.9", "not statically linked", "`ci/criu`"]);
    let output = fails("-static");
    let words: &[&str] = match errors(&output).contains("no namespaces") {
        true => &["root"],
        false => &["criu 4.9", "cannot dump", "its reason", "`ci/criu`"],
    };
    assert_refused(&output, words);
}
