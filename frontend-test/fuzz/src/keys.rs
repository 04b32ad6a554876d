//! The key files of hosts.

use std::time::{Duration, SystemTime};

use crane_linux::decoders::check_key_file;

/// A key file as `crane-linux keys` makes it, but for its private key, which is none.
const FILE: &str = "\
Keys of a:6790 in its group, by crane-linux keys. Keep this file secret.
-----BEGIN CERTIFICATE-----
MIIBrTCCAVSgAwIBAgIUFEJ9T+7TtB96PU0xifjfTIHJpewwCgYIKoZIzj0EAwIw
MTEvMC0GA1UEAwwmY3JhbmUtbGludXggYXV0aG9yaXR5IDdmNzRmYWQxMzI5ZmY5
NDgwIBcNMjYxMTIxMTUxNjQ0WhgPOTAyNzAxMjAxNTE2NDRaMBExDzANBgNVBAMM
BmE6Njc5MDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLU3Po6AhWqpig4NknmY
QQNJv1T0HraLWa8Yn0wSOe7Z+M+c9O5U9KTriP9LjQarU6rp+jS+GoJWBTPYgkSu
ciSjaDBmMDUGA1UdEQQuMCyCFW1lbWJlci5jcmFuZS5pbnRlcm5hbIYTY3JhbmU6
bWVtYmVyOmE6Njc5MDAOBgNVHQ8BAf8EBAMCB4AwHQYDVR0lBBYwFAYIKwYBBQUH
AwIGCCsGAQUFBwMBMAoGCCqGSM49BAMCA0cAMEQCIGJg0YnNpKAJ23/9T1TiJYMq
s4s/Bn/jiUXJnsoyvOGcAiAaJ02u+Oy1cDODh8O1GhkNu+0bXh2VTeiuGRD8eL3i
XQ==
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
AAAA
-----END PRIVATE KEY-----
Authorities that it trusts:
-----BEGIN CERTIFICATE-----
MIIBqDCCAU6gAwIBAgIUf3T60TKf+Ugdaom9IzfiL1YewiAwCgYIKoZIzj0EAwIw
MTEvMC0GA1UEAwwmY3JhbmUtbGludXggYXV0aG9yaXR5IDdmNzRmYWQxMzI5ZmY5
NDgwIBcNMjYxMTIxMTUxNjQ0WhgPOTAyNzAxMjAxNTE2NDRaMDExLzAtBgNVBAMM
JmNyYW5lLWxpbnV4IGF1dGhvcml0eSA3Zjc0ZmFkMTMyOWZmOTQ4MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEXQbX2Gldl9Q1MXs9TcHbSKBTFBZJIQK/RNqXEeBO
uQQMLaT0bqgCxxxwtWXLzBp2AvKmYPWSFlwryvwcKXhSPaNCMEAwDgYDVR0PAQH/
BAQDAgIEMB0GA1UdDgQWBBTqyOwFG9Dl4E+KYv7k+Ru5drJCOjAPBgNVHRMBAf8E
BTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIFzOSe13EK32ZIAXz/BI6Cnz3z8VlK9p
tvxVpWCGLVnoAiEA8f5fFuUF0wqJHEaETwbAXnOVoORMRTp1hqSDb2i2qcQ=
-----END CERTIFICATE-----
";

/// Reads a key file, which is refused with a reason, or is valid until a time that is not past.
pub(crate) fn file(bytes: &[u8]) {
    let now = SystemTime::now();
    match check_key_file(bytes) {
        // Certificates end by whole seconds.
        Ok(Some(until)) => assert!(until + Duration::from_secs(1) >= now),
        Ok(None) => {}
        Err(why) => assert!(!why.is_empty()),
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (own, rest) = FILE.split_at(FILE.find("-----BEGIN PRIVATE").expect("it has a key"));
    [FILE, own, rest].map(|text| text.as_bytes().to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_a_valid_key_file() {
        assert!(check_key_file(FILE.as_bytes()).unwrap().is_some());
    }
}
