//! TLS towards a target: what a target's `tls` settings come to in rustls. Certificates are verified unless the settings say not to.
//! Every connection does a full handshake: resumption would make a new user cheaper for the target than a new user is.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::model::request::{Hidden, TlsOptions};

/// TLS settings that are ready for connections. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Tls {
    pub(super) config: Arc<ClientConfig>,
    /// The name that the certificate must carry, instead of the host's.
    pub(super) server_name: Option<ServerName<'static>>,
}

/// TLS with the usual public roots, certificates verified.
pub fn default_tls() -> Arc<ClientConfig> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

impl Tls {
    /// From a target's settings; `Err` says in plain words what cannot be used.
    pub fn new(options: &TlsOptions) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let versions: &[_] = if options.only_tls13 { &[&rustls::version::TLS13] } else { rustls::DEFAULT_VERSIONS };
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
        let builder = builder.map_err(|error| format!("these TLS versions cannot be spoken: {error}"))?;
        let roots = roots(&options.ca)?;
        let builder = if options.verify {
            builder.with_root_certificates(roots)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        };
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(Hidden((chain, key))) => {
                let (chain, key) = identity(chain, key)?;
                let unusable = |error| format!("the client certificate and its key cannot be used: {error}");
                builder.with_client_auth_cert(chain, key).map_err(unusable)?
            }
        };
        config.resumption = Resumption::disabled();
        let server_name = match &options.server_name {
            Some(name) => {
                Some(ServerName::try_from(name.clone()).map_err(|_| format!("`{name}` is no name that a certificate could carry"))?)
            }
            None => None,
        };
        Ok(Self { config: Arc::new(config), server_name })
    }
}

/// The authorities that are trusted: those given, else the public ones.
fn roots(given: &[Vec<u8>]) -> Result<RootCertStore, String> {
    if given.is_empty() {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    }
    let mut roots = RootCertStore::empty();
    for (index, pem) in given.iter().enumerate() {
        let number = index + 1;
        let certificates = certificates(pem).map_err(|error| format!("CA file {number}: {error}"))?;
        for certificate in certificates {
            roots.add(certificate).map_err(|error| format!("CA file {number} holds a certificate that cannot be read: {error}"))?;
        }
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err("there is no certificate in it (PEM: `-----BEGIN CERTIFICATE-----`)".into()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("it is not valid PEM: {error}")),
    }
}

fn identity(chain: &[u8], key: &[u8]) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = certificates(chain).map_err(|error| format!("client certificate: {error}"))?;
    let no_key = |_| "client key: there is no private key in it (PEM: `-----BEGIN PRIVATE KEY-----`, not encrypted)".to_owned();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(no_key)?;
    Ok((chain, key))
}

/// Takes any certificate, as the target's settings ask; that the peer holds its key is still checked.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(options: &TlsOptions) -> String {
        Tls::new(options).unwrap_err()
    }

    #[test]
    fn mistakes_are_told_in_plain_words() {
        let options = TlsOptions { ca: vec![b"not a certificate".to_vec()], ..TlsOptions::default() };
        assert_eq!(error(&options), "CA file 1: there is no certificate in it (PEM: `-----BEGIN CERTIFICATE-----`)");
        let broken = b"-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n".to_vec();
        assert!(error(&TlsOptions { ca: vec![broken], ..TlsOptions::default() }).starts_with("CA file 1: it is not valid PEM"));
        let options = TlsOptions { server_name: Some("no name".into()), ..TlsOptions::default() };
        assert_eq!(error(&options), "`no name` is no name that a certificate could carry");
        let own = rcgen::generate_simple_self_signed(vec!["shop.internal".into()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let identity = |chain: &str, key: &str| TlsOptions {
            identity: Some(Hidden((chain.as_bytes().to_vec(), key.as_bytes().to_vec()))),
            ..TlsOptions::default()
        };
        let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        assert!(error(&identity(&key, &key)).starts_with("client certificate: there is no certificate"));
        assert!(error(&identity(&chain, &chain)).starts_with("client key: there is no private key"));
        assert!(error(&identity(&chain, &other.serialize_pem())).starts_with("the client certificate and its key cannot be used"));
        assert!(Tls::new(&identity(&chain, &key)).is_ok());
    }

    #[test]
    fn certificates_are_verified_and_every_handshake_is_a_full_one() {
        let tls = Tls::new(&TlsOptions::default()).unwrap();
        assert!(tls.server_name.is_none());
        let own = rcgen::generate_simple_self_signed(vec!["shop.internal".into()]).unwrap();
        let options =
            TlsOptions { ca: vec![own.cert.pem().into_bytes()], server_name: Some("shop.internal".into()), ..TlsOptions::default() };
        assert_eq!(Tls::new(&options).unwrap().server_name, Some(ServerName::try_from("shop.internal").unwrap()));
    }
}
