//! The authority of a group: signs the certificates of its hosts and operators.
//!
//! Its directory has the file `authority.keys`, which no host needs, and one file for each host.
//! [`Authority::successor`] makes a new authority that the old one vouches for: hosts with old and
//! with new files know each other until the next successor.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{SectionKind, from_buf};
use sha2::{Digest, Sha256};

use crate::clock::unix_nanoseconds;

use super::file::write_secret;
use super::subject::Subject;

/// The name of the authority's own file.
pub(crate) const AUTHORITY_FILE: &str = "authority.keys";
/// How long before its making a certificate is valid: the clocks of hosts differ.
const BACKDATED: Duration = Duration::from_secs(7 * 24 * 3600);

/// An authority that can sign.
pub(crate) struct Authority {
    key: KeyPair,
    /// Its own certificate.
    certificate: String,
    /// The authority before it, if hosts still trust that one: its certificate, and the one in
    /// which it vouches for this authority.
    former: Option<(String, String)>,
}

impl Authority {
    /// Makes an authority.
    ///
    /// # Errors
    /// Returns the error of the library.
    pub(crate) fn new(valid_for: Duration) -> Result<Self, String> {
        let key = new_key()?;
        let certificate = authority_params(&key, valid_for)?;
        let certificate = certificate.self_signed(&key).map_err(describe)?.pem();
        Ok(Self { key, certificate, former: None })
    }

    /// Makes the next authority, which this one vouches for.
    ///
    /// # Errors
    /// Returns the error of the library.
    pub(crate) fn successor(&self, valid_for: Duration) -> Result<Self, String> {
        let mut next = Self::new(valid_for)?;
        let params = authority_params(&next.key, valid_for)?;
        let vouched = params.signed_by(&next.key, &self.issuer()?).map_err(describe)?.pem();
        next.former = Some((self.certificate.clone(), vouched));
        Ok(next)
    }

    /// Returns the text of a key file for a host or operators.
    ///
    /// # Errors
    /// Returns what is wrong with the name, or the error of the library.
    pub(crate) fn issue(&self, subject: &Subject, valid_for: Duration) -> Result<String, String> {
        let key = new_key()?;
        let mut params = CertificateParams::default();
        let uri =
            subject.uri().try_into().map_err(|_| format!("{subject} is no name of a host"))?;
        let dns = subject.dns().try_into().expect("a constant name");
        params.subject_alt_names = vec![SanType::DnsName(dns), SanType::URI(uri)];
        params.distinguished_name = common_name(&subject.to_string());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(subject, Subject::Member(_)) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        set_validity(&mut params, valid_for);
        let certificate = params.signed_by(&key, &self.issuer()?).map_err(describe)?.pem();
        let (trusted, vouched) = match &self.former {
            Some((former, vouched)) => (&**former, &**vouched),
            None => ("", ""),
        };
        Ok(format!(
            "Keys of {subject} in its group, by crane-linux keys. Keep this file secret.\n\
             {certificate}{vouched}{}Authorities that it trusts:\n{}{trusted}",
            key.serialize_pem(),
            self.certificate,
        ))
    }

    /// Reads the authority in a directory.
    ///
    /// # Errors
    /// Returns what is wrong, and the remedy.
    pub(crate) fn read(directory: &Path) -> Result<Self, String> {
        let path = directory.join(AUTHORITY_FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            format!(
                "{}: {error}; give the directory that crane-linux keys init has written as --dir",
                path.display()
            )
        })?;
        Self::parse(&text).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Writes the authority to a directory.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), String> {
        let former = self.former.iter().flat_map(|(former, vouched)| [&**former, &**vouched]);
        let text = format!(
            "The authority of a group, by crane-linux keys. Whoever has this file can act as any \
             replica; no host needs it.\n{}{}{}",
            self.certificate,
            self.key.serialize_pem(),
            former.collect::<String>()
        );
        write_secret(&directory.join(AUTHORITY_FILE), &text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut sections: Vec<&str> = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find("-----BEGIN ") {
            let section = &rest[begin..];
            let end = section.find("-----END ").map(|end| {
                let line = section[end..].find('\n').unwrap_or(section.len() - end - 1);
                end + line + 1
            });
            let end = end.ok_or("malformed PEM")?;
            sections.push(&section[..end]);
            rest = &section[end..];
        }
        let certificate = |text: &&str| {
            let section = from_buf(&mut text.as_bytes()).ok().flatten();
            section.is_some_and(|(kind, _)| kind == SectionKind::Certificate)
        };
        let key = sections.get(1).ok_or("it has no private key")?;
        let key = KeyPair::from_pem(key).map_err(describe)?;
        let former = match sections[..] {
            [own, _] if certificate(&own) => None,
            [own, _, former, vouched] if [own, former, vouched].iter().all(certificate) => {
                Some((former.to_string(), vouched.to_string()))
            }
            _ => return Err("it was not made by crane-linux keys".into()),
        };
        Ok(Self { key, certificate: sections[0].to_string(), former })
    }

    fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, String> {
        // A signature names its issuer by these two alone: name and key.
        Ok(Issuer::new(authority_params(&self.key, Duration::ZERO)?, &self.key))
    }
}

/// Returns the fingerprint of a certificate, for people: the first bytes of its SHA-256 digest.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    short_digest(certificate)
}

fn short_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn new_key() -> Result<KeyPair, String> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(describe)
}

fn describe(error: rcgen::Error) -> String {
    format!("cannot make keys: {error}")
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// Returns the content of an authority's certificate. Its name has a digest of its key, so that no
/// two authorities have one name.
fn authority_params(key: &KeyPair, valid_for: Duration) -> Result<CertificateParams, String> {
    let digest = short_digest(key.public_key_raw());
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("crane-linux authority {digest}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    set_validity(&mut params, valid_for);
    Ok(params)
}

fn set_validity(params: &mut CertificateParams, valid_for: Duration) {
    let now = Duration::from_nanos(unix_nanoseconds());
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    // Certificates have no room for years of five digits.
    let last = date_time_ymd(9999, 1, 1);
    let room = Duration::try_from(last - epoch).expect("later").saturating_sub(now);
    params.not_after = epoch + now + valid_for.min(room);
}
