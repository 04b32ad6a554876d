//! Errors of TLS in the words of people.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Says in the words of people why a stream has failed: a side that connects learns only by its
/// first read that the other side refuses its certificate.
pub(super) fn explained(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(why) = inner.and_then(explain) else { return error };
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

fn explain(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::NoCertificatesPresented => "it shows no certificate",
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is not of this group's authority"
        }
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired (crane-linux keys rotate), or this host's clock is wrong",
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet: this host's clock, or that of its maker, is wrong",
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is not a replica's",
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => {
            "it does not speak TLS: another program, or a replica that was started with \
              --insecure-peers"
        }
        Error::AlertReceived(AlertDescription::UnknownCA) => {
            "it refuses this side's certificate as another group's"
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "it refuses this side's certificate as expired"
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a certificate of its group"
        }
        _ => return None,
    })
}
