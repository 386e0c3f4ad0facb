//! A step's call, prepared once: address, headers and constant messages are made when the run starts, and only what a template fills
//! in is made for each call.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::method::Method;
use crate::model::request::{Auth, GrpcRequest, GrpcStream, Hidden, HttpOptions};
use crate::model::template::Template;
use crate::protocol::dial::Origin;
use crate::protocol::redact::{secrets_of, shown};

/// The header that tells the server how long the caller will wait.
pub(super) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What a template filled in for one call, in the order of the `open_…` functions of [`Ready`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Call<'a> {
    /// JSON documents.
    pub messages: &'a [String],
    /// Values of metadata.
    pub metadata: &'a [String],
    /// Value of `authorization`, when it is not constant.
    pub authorization: Option<&'a str>,
}

/// A call that is ready to be made again and again.
#[derive(Debug)]
pub struct Ready {
    pub(super) origin: Origin,
    pub(super) timeout: Duration,
    pub(super) keep_body: bool,
    /// Largest message, bytes.
    pub(super) max_message: u64,
    method: Method,
    pub(super) stream: GrpcStream,
    pub(super) uri: Uri,
    headers: HeaderMap,
    /// Constant messages; `None` where a template must be filled in.
    frames: Vec<Option<Bytes>>,
    /// The same when all are constant.
    constant: Option<Vec<Bytes>>,
    /// Metadata whose value a template fills in: index in the request, name.
    open_metadata: Vec<(usize, HeaderName)>,
    wants_authorization: bool,
    /// Credentials that it always sends: hidden wherever an answer repeats them.
    secrets: Vec<String>,
}

impl Ready {
    /// From a profile's request and the method that its schema has for it. `keep_body`: the answer's messages are wanted as JSON.
    /// `Err` says what cannot be sent.
    pub fn new(request: &GrpcRequest, method: Method, options: &HttpOptions, timeout: Duration, keep_body: bool) -> Result<Self, String> {
        method.takes(request.messages.len()).map_err(|error| error.message)?;
        method.suits(&request.stream).map_err(|error| error.message)?;
        let origin = Origin::of(&request.origin).ok_or("the address has no host")?;
        let (headers, secrets) = constant_headers(request, timeout, options.compression)?;
        let open = request.metadata.iter().enumerate().filter(|(_, (_, value))| value.constant().is_none());
        let open_metadata = open.map(|(index, (name, _))| Ok((index, metadata_name(name)?))).collect::<Result<_, String>>()?;
        let encoded = request.messages.iter().map(|message| message.constant().map(|json| method.encode(json)).transpose());
        let frames: Vec<Option<Bytes>> = encoded.collect::<Result<_, _>>().map_err(|error| format!("the message does not fit: {error}"))?;
        Ok(Self {
            uri: uri_of(&origin, &method.path())?,
            wants_authorization: request.auth.is_some() && !headers.contains_key(AUTHORIZATION),
            secrets,
            constant: frames.iter().cloned().collect(),
            max_message: options.max_body,
            origin,
            timeout,
            keep_body,
            method,
            stream: request.stream,
            headers,
            frames,
            open_metadata,
        })
    }

    /// Indices of the messages that must be filled in for every call.
    pub fn open_messages(&self) -> impl Iterator<Item = usize> {
        self.frames.iter().enumerate().filter(|(_, frame)| frame.is_none()).map(|(index, _)| index)
    }

    /// Indices of the metadata that must be filled in for every call.
    pub fn open_metadata(&self) -> impl Iterator<Item = usize> {
        self.open_metadata.iter().map(|(index, _)| *index)
    }

    /// Whether every call must be told its `authorization`: a template or a shared token.
    pub fn wants_authorization(&self) -> bool {
        self.wants_authorization
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The messages of a call; `Err` says which does not fit.
    pub(super) fn frames(&self, call: &Call<'_>) -> Result<Cow<'_, [Bytes]>, String> {
        if let Some(constant) = &self.constant {
            return Ok(Cow::Borrowed(constant));
        }
        let mut filled = call.messages.iter();
        let frames = self.frames.iter().enumerate().map(|(index, frame)| match frame {
            Some(frame) => Ok(frame.clone()),
            None => {
                let json = filled.next().ok_or_else(|| format!("message {index} was not filled in"))?;
                self.method.encode(json).map_err(|error| format!("message {index} does not fit: {error}"))
            }
        });
        frames.collect::<Result<Vec<_>, _>>().map(Cow::Owned)
    }

    /// The headers of a call; `Err` says what cannot be sent.
    pub(super) fn headers(&self, call: &Call<'_>) -> Result<Cow<'_, HeaderMap>, String> {
        if self.open_metadata.len() != call.metadata.len() {
            return Err(format!("{} values of metadata were filled in, not {}", call.metadata.len(), self.open_metadata.len()));
        }
        if call.metadata.is_empty() && call.authorization.is_none() {
            return Ok(Cow::Borrowed(&self.headers));
        }
        let mut headers = self.headers.clone();
        for ((_, name), value) in self.open_metadata.iter().zip(call.metadata) {
            headers.append(name, metadata_value(name, value)?);
        }
        if let Some(text) = call.authorization {
            headers.insert(AUTHORIZATION, metadata_value(&AUTHORIZATION, text)?);
        }
        Ok(Cow::Owned(headers))
    }

    /// A message for people about a failed call: on one line, not too long, without the credentials that were sent.
    pub(super) fn shown(&self, text: &str, call: &Call<'_>) -> String {
        let names = self.open_metadata.iter().map(|(_, name)| name.to_string());
        let mut sent: Vec<(String, String)> = names.zip(call.metadata.iter().cloned()).collect();
        sent.extend(call.authorization.map(|text| ("authorization".into(), text.to_owned())));
        let mut secrets = secrets_of(sent.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        secrets.extend_from_slice(&self.secrets);
        shown(text.as_bytes(), &secrets)
    }
}

/// The headers that every call has, and the credentials among them. `Err` says what cannot be sent.
pub(super) fn constant_headers(request: &GrpcRequest, timeout: Duration, gzip: bool) -> Result<(HeaderMap, Vec<String>), String> {
    let mut headers = fixed_headers(timeout, gzip);
    let mut sent = Vec::new();
    for (name, value) in &request.metadata {
        let header = metadata_name(name)?;
        if let Some(text) = value.constant() {
            headers.append(&header, metadata_value(&header, text)?);
            sent.push((name.clone(), text.to_owned()));
        }
    }
    if let Some(text) = constant_authorization(request.auth.as_ref()) {
        headers.insert(AUTHORIZATION, metadata_value(&AUTHORIZATION, &text)?);
        sent.push(("authorization".into(), text));
    }
    Ok((headers, secrets_of(sent.iter().map(|(name, value)| (name.as_str(), value.as_str())))))
}

fn fixed_headers(timeout: Duration, gzip: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("plimsoll/", env!("CARGO_PKG_VERSION"))));
    headers.insert("grpc-accept-encoding", HeaderValue::from_static(if gzip { "gzip,identity" } else { "identity" }));
    headers.insert(TIMEOUT, timeout_value(timeout));
    headers
}

pub(super) fn uri_of(origin: &Origin, path: &str) -> Result<Uri, String> {
    format!("{}://{}{path}", origin.scheme(), origin.authority()).parse().map_err(|error| format!("the address cannot be used: {error}"))
}

pub(super) fn post(uri: Uri, headers: HeaderMap) -> http::Request<()> {
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

/// A deadline as `grpc-timeout`: at most eight digits and a unit, rounded up.
pub(super) fn timeout_value(timeout: Duration) -> HeaderValue {
    let units: [(u128, &str); 4] = [
        (timeout.as_nanos(), "n"),
        (timeout.as_nanos().div_ceil(1_000), "u"),
        (timeout.as_nanos().div_ceil(1_000_000), "m"),
        (timeout.as_nanos().div_ceil(1_000_000_000), "S"),
    ];
    let fits = units.into_iter().find(|(amount, _)| *amount <= 99_999_999);
    let (amount, unit) = fits.unwrap_or((99_999_999, "S"));
    HeaderValue::from_str(&format!("{amount}{unit}")).unwrap_or_else(|_| HeaderValue::from_static("99999999S"))
}

/// Whether metadata of this name, and with this value if it is constant, can be sent; `Err` says what is wrong.
pub fn check_metadata(name: &str, value: Option<&str>) -> Result<(), String> {
    let header = metadata_name(name)?;
    value.map_or(Ok(()), |value| metadata_value(&header, value).map(drop))
}

/// A name of metadata: of a header, and none of those that gRPC needs for itself.
fn metadata_name(name: &str) -> Result<HeaderName, String> {
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` cannot be the name of metadata"))?;
    let reserved =
        [TE, CONTENT_TYPE, http::header::HOST, http::header::CONNECTION, http::header::TRANSFER_ENCODING, http::header::CONTENT_LENGTH];
    if header.as_str().starts_with("grpc-") || reserved.contains(&header) {
        return Err(format!("`{name}` is set by gRPC itself"));
    }
    Ok(header)
}

/// A value of metadata; that of a name that ends in `-bin` is Base64, sent without padding.
fn metadata_value(name: &HeaderName, text: &str) -> Result<HeaderValue, String> {
    let binary = || {
        let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
        bytes.map(|bytes| STANDARD_NO_PAD.encode(bytes)).map_err(|_| format!("the value of `{name}` is not Base64"))
    };
    let encoded = if name.as_str().ends_with("-bin") { Cow::Owned(binary()?) } else { Cow::Borrowed(text) };
    HeaderValue::from_str(&encoded).map_err(|_| format!("the value of `{name}` holds a character that metadata cannot"))
}

/// `authorization` when nothing in it must be filled in.
fn constant_authorization(auth: Option<&Auth>) -> Option<String> {
    match auth? {
        Auth::Bearer(Hidden(token)) => token.constant().map(|token| format!("Bearer {token}")),
        Auth::Basic(user, Hidden(password)) => {
            let both = [user, password].map(Template::constant);
            let [Some(user), Some(password)] = both else { return None };
            Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
        }
        Auth::Shared(_) => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::request::GrpcSchema;
    use crate::model::template::Encoding;
    use crate::protocol::grpc::schema::load;

    fn method(name: &str) -> Method {
        let folder = tempfile::tempdir().unwrap();
        let text = "syntax = \"proto3\"; package a; service B { rpc C(D) returns (D); rpc S(stream D) returns (D); } message D { string user = 1; }";
        std::fs::write(folder.path().join("a.proto"), text).unwrap();
        load(&[folder.path().join("a.proto")], &[]).unwrap().method("a.B", name).unwrap()
    }

    pub(in super::super) fn request(messages: &[&str], metadata: &[(&str, &str)], auth: Option<Auth>) -> GrpcRequest {
        GrpcRequest {
            origin: "https://Shop.internal:9090/ignored".parse().unwrap(),
            service: "a.B".into(),
            method: "C".into(),
            schema: GrpcSchema::Reflection,
            messages: messages.iter().map(|text| Template::literal(*text, Encoding::Json)).collect(),
            metadata: metadata.iter().map(|(name, value)| ((*name).into(), Template::literal(*value, Encoding::Header))).collect(),
            auth,
            stream: GrpcStream::default(),
        }
    }

    pub(in super::super) fn ready(name: &str, request: &GrpcRequest) -> Result<Ready, String> {
        Ready::new(request, method(name), &HttpOptions::default(), Duration::from_secs(5), false)
    }

    #[test]
    fn everything_constant_is_made_once() {
        let auth = Auth::Basic(Template::literal("ann", Encoding::Plain), Hidden(Template::literal("pw", Encoding::Plain)));
        let request = request(&[r#"{"user": "x"}"#], &[("X-Tenant", "blue"), ("x-key-bin", "AP8=")], Some(auth));
        let ready = ready("C", &request).unwrap();
        assert_eq!(ready.uri.to_string(), "https://shop.internal:9090/a.B/C");
        assert_eq!((ready.open_messages().count(), ready.open_metadata().count(), ready.wants_authorization()), (0, 0, false));
        let headers = ready.headers(&Call::default()).unwrap();
        assert!(matches!(headers, Cow::Borrowed(_)) && matches!(ready.frames(&Call::default()), Ok(Cow::Borrowed(_))));
        for (name, value) in [
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", "5000000u"),
            ("grpc-accept-encoding", "identity"),
            ("x-tenant", "blue"),
            ("x-key-bin", "AP8"),
            ("authorization", "Basic YW5uOnB3"),
        ] {
            assert_eq!(headers[name], value);
        }
        assert_eq!(ready.frames(&Call::default()).unwrap()[0], &b"\0\0\0\0\x03\n\x01x"[..]);
    }

    #[test]
    fn what_cannot_be_sent_is_told() {
        let told = |name, request: &GrpcRequest| ready(name, request).unwrap_err();
        for (messages, metadata, message) in [
            (&["{}"][..], &[("bad name", "x")][..], "`bad name` cannot be the name of metadata"),
            (&["{}"], &[("grpc-timeout", "1S")], "`grpc-timeout` is set by gRPC itself"),
            (&["{}"], &[("Content-Type", "x")], "`Content-Type` is set by gRPC itself"),
            (&["{}"], &[("a-bin", "%")], "the value of `a-bin` is not Base64"),
            (&["{}"], &[("a", "x\ny")], "the value of `a` holds a character that metadata cannot"),
            (&["{}", "{}"], &[], "`C` is unary: it takes one message, not 2"),
            (&[], &[], "`C` is unary: it takes one message, not 0"),
            (&[r#"{"usr": 1}"#], &[], "the message does not fit: unrecognized field name 'usr'"),
        ] {
            assert_eq!(told("C", &request(messages, metadata, None)), message);
        }
        assert!(ready("S", &request(&["{}", "{}"], &[], None)).is_ok());
        let streams = |stream: GrpcStream| GrpcRequest { stream, ..request(&["{}"], &[], None) };
        let (some, none) = (Some(Duration::from_secs(1)), GrpcStream::default());
        for (name, stream, message) in [
            ("C", GrpcStream { take: Some(1), ..none }, "`C` is unary: `take` is for methods whose server streams"),
            ("S", GrpcStream { lasting: some, ..none }, "`S` is client streaming: `for` is for methods whose server streams"),
            ("C", GrpcStream { every: some, ..none }, "`C` is unary: `every` is for methods whose client streams"),
        ] {
            assert_eq!(told(name, &streams(stream)), message);
        }
        assert!(ready("S", &streams(GrpcStream { every: some, ..none })).is_ok());
        assert_eq!(check_metadata("a-bin", Some("%")).unwrap_err(), "the value of `a-bin` is not Base64");
        assert_eq!(check_metadata("grpc-x", None).unwrap_err(), "`grpc-x` is set by gRPC itself");
        assert_eq!(check_metadata("a-bin", None).and(check_metadata("a-bin", Some("AP8="))), Ok(()));
        assert!(ready("S", &request(&[], &[], None)).is_ok());
    }

    #[test]
    fn a_shared_token_is_wanted_for_every_call_and_never_shown() {
        let ready = ready("C", &request(&["{}"], &[("x-api-key", "k3y-value")], Some(Auth::Shared(0)))).unwrap();
        assert!(ready.wants_authorization());
        let call = Call { authorization: Some("Bearer s3cr3t-value"), ..Call::default() };
        assert_eq!(ready.headers(&call).unwrap()["authorization"], "Bearer s3cr3t-value");
        assert_eq!(ready.shown("no  s3cr3t-value\nand k3y-value,  password=x", &call), "no <redacted> and <redacted>, password=<redacted>");
        assert!(ready.shown(&"x ".repeat(1000), &call).chars().count() <= 500);
        let values = ["x".to_owned()];
        assert!(ready.headers(&Call { metadata: &values, ..call }).is_err());
    }

    #[test]
    fn a_deadline_has_at_most_eight_digits() {
        for (timeout, value) in [
            (Duration::from_millis(300), "300000u"),
            (Duration::from_nanos(1500), "1500n"),
            (Duration::from_secs(99), "99000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::MAX, "99999999S"),
            (Duration::ZERO, "0n"),
        ] {
            assert_eq!(timeout_value(timeout), value, "{timeout:?}");
        }
    }
}
