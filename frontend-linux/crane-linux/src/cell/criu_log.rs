//! The log that CRIU writes.

/// A text that CRIU writes wherever it may not raise its own limit, which does no harm.
const HARMLESS: &str = "Can't setup RLIMIT_NOFILE for self";

/// Returns the first error in a log. The others follow from it.
pub(crate) fn first_error(log: &str) -> Option<&str> {
    let is_error = |line: &&str| line.contains("Error (") && !line.contains(HARMLESS);
    let line = log.lines().find(is_error)?;
    Some(line.split_once("Error (")?.1.split_once("): ")?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_harmful_error_is_found() {
        let log = "\
(00.000042) Version: 4.1.1 (gitid 0)
(00.000555) Error (criu/rlimit.c:17): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not \
permitted
(00.021000) Warn  (criu/x.c:1): a warning
(00.022000) Error (criu/sockets.c:567): sockets: Can't get 1:16 opt: Operation not supported
(00.023000) Error (criu/cr-dump.c:2128): Dumping FAILED.
";
        let expected = "sockets: Can't get 1:16 opt: Operation not supported";
        assert_eq!(first_error(log), Some(expected));
        assert_eq!(first_error("(00.000042) Version: 4.1.1 (gitid 0)\n"), None);
    }
}
