//! How a scenario connects, as written under `http:`, and how TLS is spoken to a target, under `tls:`.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::model::request::{Connections, Cookies, HttpVersion};
use crate::registry::{ByteSize, Context, Decode, FilePath, Node, Spanned};
use crate::{choice, settings};

settings! {
    /// How the VUs of a scenario connect.
    pub(crate) struct HttpKeys titled "`http`" {
        /// Which HTTP: `auto` is HTTP/2 where the server agrees (by ALPN), else HTTP/1.1; `2` without TLS is by prior knowledge. Without it: `auto`.
        version: optional Number<HttpVersion>,
        /// Who shares connections: every VU keeps its own, as browsers do, for all its iterations or anew in each; the VUs of a load thread share a pool, as back ends do; or every request has a new one.
        connections: default Connections = Connections::PerVu,
        /// Redirects that are followed per request; `0`: a 3xx is the answer.
        redirects: default u32 = 10,
        /// How long an address that was looked up is used; `0`: looked up for every connection.
        dns_ttl: default Duration = Duration::from_secs(300),
        /// Largest body, after decompression, that is kept for checks and extractions.
        max_body: default ByteSize = ByteSize(8 << 20),
        /// Ask for compressed answers (gzip, br, zstd), and undo the compression.
        compression: default bool = false,
        /// How long a VU keeps the cookies that servers set: until its iteration ends, so that each is the visit of a new user; for all its iterations; or not at all.
        cookies: default Cookies = Cookies::PerIteration,
    }
}

choice! {
    /// The least version of TLS.
    pub(crate) enum TlsVersion {
        /// TLS 1.2 or 1.3.
        Tls12 = "1.2",
        /// TLS 1.3 only.
        Tls13 = "1.3",
    }
}

settings! {
    /// TLS towards a target. Files are PEM, read when the configuration is.
    pub(crate) struct TlsKeys titled "`tls`" {
        /// Certificates of authorities that are trusted instead of the public ones.
        ca_file: default Vec<Spanned<FilePath>>,
        /// Client certificate, with its chain.
        cert_file: optional Spanned<FilePath>,
        /// Its private key.
        key_file: optional Spanned<FilePath>,
        /// Name that the server's certificate must carry, and that it is asked for (SNI), instead of the host's.
        server_name: optional Spanned<String>,
        /// Least version. Without it: `1.2`.
        min_version: optional Number<TlsVersion>,
        /// Verify the server's certificate. `false` is for tests with certificates that nobody signed.
        verify: default bool = true,
    }
}

/// Words of which some look like numbers; both may be written without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number<T>(pub(crate) T);

impl<T: Decode> Decode for Number<T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        T::decode(node, cx).map(Self)
    }
    fn schema() -> Json {
        let schema = T::schema();
        let words = schema["enum"].as_array().cloned().unwrap_or_default();
        let numbers = words.iter().filter_map(|word| word.as_str()?.parse::<f64>().ok()).map(whole);
        json!({"enum": words.iter().cloned().chain(numbers).collect::<Vec<Json>>()})
    }
}

/// `2` rather than `2.0`.
fn whole(number: f64) -> Json {
    if number.fract() == 0.0 { Json::from(number as i64) } else { Json::from(number) }
}
