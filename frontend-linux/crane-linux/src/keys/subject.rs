//! The subject of a certificate: the member or operator whom it names. Pure.

use std::fmt;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The DNS name in the certificate of every member, by which a replica that connects knows that the
/// other side may be a replica at all.
pub(crate) const MEMBER_DNS: &str = "member.crane.internal";
/// The DNS name in the certificate of an operator.
pub(crate) const OPERATOR_DNS: &str = "operator.crane.internal";
/// Precedes the name of a member, in the URI of its certificate.
const MEMBER_URI: &str = "crane:member:";
const OPERATOR_URI: &str = "crane:operator";

/// The one whom a certificate names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    /// The replica of this name: `host:port`, as in `--peers`.
    Member(String),
    /// A person, or a program, that asks and gives orders, and is no replica.
    Operator,
}

impl Subject {
    /// Returns the URI that stands for the subject in a certificate.
    pub(crate) fn uri(&self) -> String {
        match self {
            Self::Member(name) => format!("{MEMBER_URI}{name}"),
            Self::Operator => OPERATOR_URI.to_string(),
        }
    }

    /// Returns the DNS name that stands for the subject's kind in a certificate.
    pub(crate) fn dns(&self) -> &'static str {
        match self {
            Self::Member(_) => MEMBER_DNS,
            Self::Operator => OPERATOR_DNS,
        }
    }

    /// Returns the subject of a certificate, whose signature must have been verified.
    ///
    /// # Errors
    /// Returns why the certificate is not one of crane's. It never panics.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let wrong = "its certificate was not made by crane-linux keys";
        let parsed = EndEntityCert::try_from(certificate).map_err(|_| wrong.to_string())?;
        let mut uris = parsed.valid_uri_names();
        let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(wrong.to_string()) };
        match uri.strip_prefix(MEMBER_URI) {
            Some(name) if !name.is_empty() => Ok(Self::Member(name.to_string())),
            _ if uri == OPERATOR_URI => Ok(Self::Operator),
            _ => Err(wrong.to_string()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(name) => f.write_str(name),
            Self::Operator => f.write_str("an operator"),
        }
    }
}
