//! The texts of the command line.

use crane_core::limits::{ADDRESS_BYTES_MAX, NODES_MAX};
use crane_linux::decoders::{member_names, parse_time, parse_variable};

/// Reads members, each of which has one form, and a time and a variable, which may be refused with
/// a reason.
pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let given: Vec<String> = text.split(',').map(str::to_string).collect();
    match member_names(&given, 6790) {
        Ok(names) => {
            assert!(names.len() == given.len() && names.len() <= NODES_MAX);
            assert!(names.iter().all(|name| name.len() <= ADDRESS_BYTES_MAX));
            assert_eq!(
                member_names(&names, 1),
                Ok(names.clone()),
                "a member's form changes when it is read again"
            );
        }
        Err(why) => assert!(!why.is_empty()),
    }
    if let Err(why) = parse_time(&text) {
        assert!(!why.is_empty());
    }
    match parse_variable(&text) {
        Ok((name, value)) => assert_eq!(format!("{name}={value}"), text),
        Err(why) => assert!(!why.is_empty()),
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "a,b:7,[::1],::2",
        "10.0.0.1,10.0.0.2:6791,10.0.0.3",
        "[fe80::1]:99,host.example:65535",
        "100us",
        "18446744073709551615s",
        "NAME=VALUE=x",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
