//! TLS on the other side: an authority of our own, certificates that it signs, and a front that speaks TLS for a server that does not.
#![expect(clippy::unwrap_used, reason = "a server that cannot be made is a test that failed")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Who signs certificates.
pub(crate) type Issuer = CertifiedIssuer<'static, KeyPair>;

/// An authority of this name.
pub(crate) fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for a name and its key, both PEM.
pub(crate) fn certificate(issuer: &Issuer, name: &str, expired: bool) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

/// What a server with this certificate and key accepts; with `clients_of`, clients must show a certificate of that authority.
pub(crate) fn server_config(identity: (String, String), clients_of: Option<&Issuer>, only_tls12: bool) -> ServerConfig {
    let versions: &[_] = if only_tls12 { &[&rustls::version::TLS12] } else { rustls::DEFAULT_VERSIONS };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
    let builder = match clients_of {
        None => builder.with_no_client_auth(),
        Some(issuer) => {
            let mut roots = RootCertStore::empty();
            roots.add(issuer.der().clone()).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap())
        }
    };
    let (chain, key) = identity;
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
}

/// Speaks TLS for a server that does not, and lets nobody in without a certificate.
pub(crate) struct Front {
    pub(crate) port: u16,
    issuer: Issuer,
    _tasks: JoinSet<()>,
}

impl Front {
    /// In front of `server`, under the name `name`.
    pub(crate) async fn start(server: SocketAddr, name: &str) -> Self {
        let issuer = authority("plimsoll-test");
        let mut config = server_config(certificate(&issuer, name, false), Some(&issuer), false);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                open.spawn(async move {
                    // Who is not let in sees it; so do the figures of the run.
                    let Ok(mut outside) = acceptor.accept(stream).await else { return };
                    let Ok(mut inside) = TcpStream::connect(server).await else { return };
                    // Either side may go away at any time.
                    drop(tokio::io::copy_bidirectional(&mut outside, &mut inside).await);
                });
            }
        });
        Self { port, issuer, _tasks: tasks }
    }

    /// Writes `authority.pem`, and a certificate for clients with its key, `client.pem` and `client.key`.
    pub(crate) fn write_for_clients(&self, folder: &Path) {
        let (chain, key) = certificate(&self.issuer, "plimsoll", false);
        for (file, text) in [("authority.pem", self.issuer.pem()), ("client.pem", chain), ("client.key", key)] {
            std::fs::write(folder.join(file), text).unwrap();
        }
    }
}
