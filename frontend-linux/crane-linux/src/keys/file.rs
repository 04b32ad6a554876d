//! A key file: the certificate of a host or of operators, its private key, and the authorities that
//! it trusts, one PEM section (RFC 7468) after the other.
//!
//! Certificates before the private key are the holder's own, the first, and those that lead from it
//! to an older authority. Certificates behind it are the trusted authorities.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::{SectionKind, from_buf};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, TrustAnchor, UnixTime};
use tracing::warn;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::cell::upper::remove_file;

use super::subject::Subject;

/// The length of the longest key file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The number of certificates of each kind that are read.
const CERTIFICATES_MAX: usize = 4;

/// The content of a key file.
#[derive(Debug)]
pub(crate) struct KeyFile {
    /// The one whom it names.
    pub subject: Subject,
    /// The holder's certificate, and those that lead to an older authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The holder's private key.
    pub key: PrivateKeyDer<'static>,
    /// The authorities that it trusts, the present one first.
    pub trusted: Vec<CertificateDer<'static>>,
}

impl KeyFile {
    /// Reads a key file.
    ///
    /// # Errors
    /// Returns what is wrong with it, and the remedy.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let describe = |error: &dyn std::fmt::Display| {
            format!(
                "key file {}: {error}; make it again with crane-linux keys, and copy it here",
                path.display()
            )
        };
        let file = File::open(path).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => format!(
                "key file {}: {error}; give it to the user that runs this command (chown)",
                path.display()
            ),
            _ => describe(&error),
        })?;
        if file.metadata().is_ok_and(|data| data.permissions().mode() & 0o077 != 0) {
            warn!("key file {} is readable by others; chmod 600 it", path.display());
        }
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(|error| describe(&error))?;
        Self::parse(&text).map_err(|error| describe(&error))
    }

    /// Parses the text of a key file.
    ///
    /// # Errors
    /// Returns what is wrong with it. It never panics.
    pub(crate) fn parse(mut text: &[u8]) -> Result<Self, String> {
        let (mut chain, mut key, mut trusted) = (Vec::new(), None, Vec::new());
        loop {
            let section = from_buf(&mut text).map_err(|error| format!("malformed PEM: {error}"))?;
            let Some((kind, bytes)) = section else { break };
            match kind {
                SectionKind::Certificate => {
                    let place = if key.is_none() { &mut chain } else { &mut trusted };
                    if place.len() == CERTIFICATES_MAX {
                        return Err(format!("it has more than {CERTIFICATES_MAX} certificates"));
                    }
                    place.push(CertificateDer::from(bytes));
                }
                SectionKind::PrivateKey if key.is_none() => {
                    key = Some(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(bytes)));
                }
                _ => return Err("it has a section that crane-linux keys does not write".into()),
            }
        }
        let key = key.ok_or("it has no private key")?;
        let own = chain.first().ok_or("it has no certificate")?;
        let subject = Subject::of(own)?;
        if trusted.is_empty() {
            return Err("it names no authority".into());
        }
        Ok(Self { subject, chain, key, trusted })
    }

    /// Returns the last second at which an authority of this file vouches for its certificate;
    /// `None` if none does now.
    pub(crate) fn valid_until(&self) -> Option<SystemTime> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        if !self.is_valid_at(now) {
            return None;
        }
        // The last second is found by halves: certificates end by whole seconds.
        let (mut valid, mut ended) = (now.as_secs(), now.as_secs() + (1 << 36));
        while valid + 1 < ended {
            let middle = valid.midpoint(ended);
            match self.is_valid_at(Duration::from_secs(middle)) {
                true => valid = middle,
                false => ended = middle,
            }
        }
        Some(UNIX_EPOCH + Duration::from_secs(valid))
    }

    fn is_valid_at(&self, since_epoch: Duration) -> bool {
        let Ok(own) = EndEntityCert::try_from(&self.chain[0]) else { return false };
        let anchors: Vec<TrustAnchor<'_>> =
            self.trusted.iter().filter_map(|der| anchor_from_trusted_cert(der).ok()).collect();
        let signatures = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let time = UnixTime::since_unix_epoch(since_epoch);
        let usage = KeyUsage::client_auth();
        let verified = own.verify_for_usage(
            signatures.all,
            &anchors,
            &self.chain[1..],
            time,
            usage,
            None,
            None,
        );
        verified.is_ok()
    }
}

/// Reads the text of a key file, and returns until when it is valid, if it is now.
///
/// # Errors
/// Returns what is wrong with it. It never panics.
pub fn check_key_file(text: &[u8]) -> Result<Option<SystemTime>, String> {
    Ok(KeyFile::parse(text)?.valid_until())
}

/// Writes a secret file that only its owner can read, at its path at once and whole.
///
/// # Errors
/// Returns the system's error, with the path.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), String> {
    let mut new = PathBuf::from(path).into_os_string();
    new.push(".new");
    let new = Path::new(&new);
    remove_file(new)?;
    let made = File::options().write(true).create_new(true).mode(0o600).open(new);
    let written = made
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(new, path));
    written.map_err(|error| format!("{}: {error}", path.display()))
}
