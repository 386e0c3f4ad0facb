//! TLS towards a target: the files read, and tried as they will be used, so that a wrong certificate is told before any load.

use super::Resolver;
use crate::config::raw::http::{Number, TlsKeys, TlsVersion};
use crate::model::request::{Hidden, TlsOptions};
use crate::protocol::tls::Tls;
use crate::registry::{FilePath, Span, Spanned};

impl Resolver<'_> {
    /// The settings of a target; what is wrong is left out, after it was told.
    pub(super) fn tls(&mut self, keys: Option<&TlsKeys>) -> TlsOptions {
        let Some(keys) = keys else { return TlsOptions::default() };
        let mut options =
            TlsOptions { only_tls13: keys.min_version == Some(Number(TlsVersion::Tls13)), verify: keys.verify, ..TlsOptions::default() };
        for file in &keys.ca_file {
            if let Some(pem) = self.pem(file)
                && self.usable(file.span, &TlsOptions { ca: vec![pem.clone()], ..TlsOptions::default() }, "give certificates in PEM")
            {
                options.ca.push(pem);
            }
        }
        options.identity = match (&keys.cert_file, &keys.key_file) {
            (Some(cert), Some(key)) => self.identity(cert, key),
            (Some(cert), None) => {
                self.mistake("missing-key", cert.span, "a client certificate needs its private key", "add `key_file:`");
                None
            }
            (None, Some(key)) => {
                self.mistake("missing-key", key.span, "a private key needs its certificate", "add `cert_file:`");
                None
            }
            (None, None) => None,
        };
        if let Some(name) = &keys.server_name {
            let server_name = Some(name.value.clone());
            let hint = "write the name that stands in it, such as `shop.internal`";
            if self.usable(name.span, &TlsOptions { server_name: server_name.clone(), ..TlsOptions::default() }, hint) {
                options.server_name = server_name;
            }
        }
        if !keys.verify
            && let Some(file) = keys.ca_file.first()
        {
            let message = "with `verify: false` no authority is asked";
            self.mistake("conflicting-keys", file.span, message, "remove `verify: false`, or `ca_file`");
        }
        options
    }

    fn identity(&mut self, cert: &Spanned<FilePath>, key: &Spanned<FilePath>) -> Option<Hidden<(Vec<u8>, Vec<u8>)>> {
        let (chain, private) = (self.pem(cert), self.pem(key));
        let identity = Hidden((chain?, private?));
        let options = TlsOptions { identity: Some(identity.clone()), ..TlsOptions::default() };
        self.usable(cert.span, &options, "give the certificate, its chain and its own key in PEM").then_some(identity)
    }

    fn pem(&mut self, file: &Spanned<FilePath>) -> Option<Vec<u8>> {
        self.read_file(&file.value.0, file.span)
    }

    /// Reports settings that cannot be used.
    fn usable(&mut self, span: Span, options: &TlsOptions, hint: &str) -> bool {
        match Tls::new(options) {
            Ok(_) => true,
            Err(why) => {
                let why = why.strip_prefix("CA file 1: ").unwrap_or(&why);
                self.mistake("bad-certificate", span, why, hint);
                false
            }
        }
    }
}
