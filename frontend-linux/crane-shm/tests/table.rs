//! The table of calls: it is whole, specs/CALLS.md is made of it, and each row names a test that
//! exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crane_shm::table::{self, Class, Group, InLibc, NUMBERS, Waits};

/// The kernel's list of numbers, from `linux-libc-dev`.
const HEADER: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";
/// Set to write the page anew.
const WRITE: &str = "CRANE_WRITE_PAGES";

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_table_has_all_calls_of_the_kernels_list() {
    let header = fs::read_to_string(HEADER).expect("linux-libc-dev is installed");
    let theirs: BTreeMap<&str, i64> = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '))
        .map(|(name, number)| (name, number.trim().parse().expect("a number")))
        .filter(|(_, number)| *number < NUMBERS)
        .collect();
    let ours: BTreeMap<&str, i64> =
        table::calls().map(|(_, number, name)| (name, number)).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn numbers_lead_to_their_rows() {
    for (group, number, name) in table::calls() {
        assert!(std::ptr::eq(table::group(number).expect("a row"), group), "{name}");
        assert_eq!(table::name(number), Some(name));
    }
    for number in [-1, 335, NUMBERS, i64::MAX] {
        assert!(table::group(number).is_none(), "{number}");
        assert_eq!(table::refusal(number), Some(libc::ENOSYS));
    }
    assert_eq!(table::refusal(libc::SYS_read), None);
    assert_eq!(table::refusal(libc::SYS_mount), Some(libc::EPERM));
}

/// The list of hooks by number is the other half of the dispatch.
#[test]
fn virtual_calls_are_those_with_hooks() {
    /// Calls that the net answers before it asks for hooks.
    const OF_THE_NET: [&str; 2] = ["rt_sigprocmask", "rt_sigreturn"];
    let path = project().join("frontend-linux/crane-preload/src/hooks/numbered.rs");
    let text = fs::read_to_string(path).expect("the list of hooks");
    let of_line = |line: &str| {
        let name = line.trim().strip_prefix("libc::SYS_")?.split([' ', ',']).next()?;
        line.contains("=>").then(|| name.to_string())
    };
    let mut hooked: BTreeSet<String> = text.lines().filter_map(of_line).collect();
    hooked.extend(OF_THE_NET.map(str::to_string));
    // Only a program that is linked statically ends its threads by it.
    hooked.remove("exit");
    // Two of its options are answered, about a signal that the kernel would send.
    hooked.remove("prctl");
    let of_class = |class| table::calls().filter(move |(group, ..)| group.class == class);
    let answered: BTreeSet<String> =
        of_class(Class::Virtual).map(|(_, _, name)| name.to_string()).collect();
    assert_eq!(hooked, answered);
}

#[test]
fn each_row_names_a_test_that_exists() {
    for (group, _, name) in table::calls() {
        let mut words = group.test.split(' ');
        let file = words.next().expect("a file");
        let path = project().join("frontend-test").join(file);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
        if let Some(test) = words.next() {
            assert!(text.contains(&format!("fn {test}(")), "{name}: {file} has no test {test}");
        }
    }
}

#[test]
fn the_page_is_made_of_the_table() {
    let path = project().join("specs/CALLS.md");
    let page = page();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let present = fs::read_to_string(&path).expect("the page can be read");
    assert!(present == page, "specs/CALLS.md is not of the table: run this test with {WRITE}=1");
}

fn page() -> String {
    let mut page = INTRODUCTION.to_string();
    let mut rows: Vec<_> = table::calls().collect();
    rows.sort_by_key(|(_, number, _)| *number);
    for (group, number, name) in rows {
        let Group { class, in_libc, waits, .. } = group;
        let class = match class {
            Class::Pure => "pure".to_string(),
            Class::Ordered => "ordered".to_string(),
            Class::Virtual => "virtual".to_string(),
            Class::Foreign => "foreign".to_string(),
            Class::Refused(libc::EPERM) => "refused: `EPERM`".to_string(),
            Class::Refused(libc::ENOSYS) => "refused: `ENOSYS`".to_string(),
            Class::Refused(other) => panic!("{other}"),
        };
        let waits = if *waits == Waits::MayWait { "may wait" } else { "" };
        let in_libc = if *in_libc == InLibc::Told { "told" } else { "" };
        let (why, test) = (group.why, group.test);
        let row = writeln!(
            page,
            "| {number} | `{name}` | {class} | {waits} | {in_libc} | {why} | {test} |"
        );
        row.expect("a text takes everything");
    }
    page
}

const INTRODUCTION: &str = "\
# The system calls

This page is made of the table in `frontend-linux/crane-shm/src/table`, which decides what becomes
of each call: the cell's filter and the preload library's trap act by it, and
`frontend-linux/crane-shm/tests/table.rs` compares this page with it.

| class | who answers |
|---|---|
| pure | the kernel: the call changes the calling process alone, or is answered alike everywhere |
| ordered | the kernel, from what earlier calls of the server have made; their order is the schedule's |
| virtual | the library, in the turn where the order counts |
| foreign | the kernel, with what the replicas do not agree on: the call is told by name, or, with `--strict`, not made |
| refused | the cell's filter, whatever the arguments are (CLOSED.md) |

A call that the program makes by libc's function, or by `syscall()`, is answered by the hook. One
that an instruction of its own makes is answered in the same way, and with `--floor=never` told.
A call that a function of libc's makes for itself is silent unless the table says that it is told.
A number that is not here, such as those from 449 on (Linux 5.16 and later), gets `ENOSYS` on every
host: kernels differ in them, and programs fall back.

| number | call | class | waits | in libc | why | test, below `frontend-test/` |
|---|---|---|---|---|---|---|
";
