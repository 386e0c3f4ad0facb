//! HTTP requests: method, address, headers, the one body that they have.

use std::path::Path;

use super::Scope;
use super::address::Schemes;
use crate::config::raw::Attempt;
use crate::config::raw::flow::step::{HttpStep, METHODS, PartKeys, RawStep};
use crate::config::raw::text::{Fillable, placeholder, unescaped};
use crate::config::resolve::Resolver;
use crate::model::request::{Body, FormContent, FormPart, HttpRequest};
use crate::model::template::{Encoding, Template};
use crate::registry::{FilePath, Named, Span, Spanned};

impl Resolver<'_> {
    /// The request of a step.
    pub(super) fn http_request(&mut self, raw: &RawStep, keys: &HttpStep, scope: &mut Scope<'_>) -> Option<HttpRequest> {
        let found = self.method(keys);
        let address = found.as_ref().and_then(|(_, address)| self.address(address, Schemes::Web, scope));
        let headers = self.headers(&keys.headers, scope);
        let body = self.body(keys, scope);
        let auth = self.step_auth(raw, headers.as_deref().unwrap_or_default(), scope);
        let ((method, _), mut headers, (body, media_type)) = (found?, headers?, body?);
        if let Some(media_type) = media_type
            && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            headers.insert(0, ("content-type".into(), Template::literal(media_type, Encoding::Header)));
        }
        Some(HttpRequest { method: method.to_uppercase(), address: address?, headers, body, auth: auth.ok()?, redirects: keys.redirects })
    }

    fn method(&mut self, keys: &HttpStep) -> Option<(&'static str, Spanned<Fillable>)> {
        let name = &keys.step.value.0;
        let given = [&keys.get, &keys.post, &keys.put, &keys.patch, &keys.delete, &keys.head, &keys.options];
        let mut given = METHODS.into_iter().zip(given).filter_map(|(method, address)| address.as_ref().map(|address| (method, address)));
        match (given.next(), given.next()) {
            (Some((method, Spanned { value: Attempt(address), span })), None) => {
                address.clone().map(|address| (method, Spanned { value: address, span: *span }))
            }
            (Some((first, _)), Some((second, address))) => {
                let message = format!("step `{name}` has both `{first}` and `{second}`");
                self.mistake("conflicting-keys", address.span, message, "a step is one request: begin a new one with `-`");
                None
            }
            (None, _) => {
                let hint = "add `get: /path`, or post, put, patch, delete, head, options; or `grpc`, `websocket`, `send`";
                self.mistake("missing-key", keys.step.span, format!("step `{name}` requests nothing"), hint);
                None
            }
        }
    }

    /// The body, and the media type that it has unless a header says otherwise.
    fn body(&mut self, keys: &HttpStep, scope: &Scope<'_>) -> Option<(Body, Option<&'static str>)> {
        let given = [
            ("json", keys.json.as_ref().map(|json| json.span)),
            ("body", keys.body.as_ref().map(|body| body.span)),
            ("form", keys.form.as_ref().map(|form| form.span)),
            ("multipart", keys.multipart.as_ref().map(|parts| parts.span)),
            ("file", keys.file.as_ref().map(|file| file.span)),
        ];
        let given: Vec<(&str, Span)> = given.into_iter().filter_map(|(key, span)| span.map(|span| (key, span))).collect();
        if let [(first, _), (second, span), ..] = given[..] {
            let message = format!("a request has one body: `{first}` or `{second}`");
            self.mistake("conflicting-keys", span, message, "keep one of them");
            return None;
        }
        Some(match keys {
            HttpStep { json: Some(json), .. } => (Body::Text(self.document(&json.value, scope)?), Some("application/json")),
            HttpStep { body: Some(body), .. } => (Body::Text(self.fill(body, Encoding::Plain, scope)?), Some("text/plain; charset=utf-8")),
            HttpStep { form: Some(form), .. } => (Body::Text(self.form(&form.value, scope)?), Some("application/x-www-form-urlencoded")),
            // Its media type names the boundary, which is made with the body.
            HttpStep { multipart: Some(parts), .. } => (Body::Multipart(self.parts(parts, scope)?), None),
            HttpStep { file: Some(file), .. } => (Body::Bytes(self.bytes(file)?), Some("application/octet-stream")),
            _ => (Body::Empty, None),
        })
    }

    fn form(&mut self, form: &Named<Spanned<Fillable>>, scope: &Scope<'_>) -> Option<Template> {
        let mut fine = true;
        for (name, value) in form.iter() {
            fine &= self.fill(value, Encoding::Plain, scope).is_some();
            if placeholder(&name.value).is_some() {
                let message = format!("the field `{}` cannot be filled in", name.value);
                self.mistake("bad-template", name.span, message, "only values can; write `$${` for a literal `${`");
                fine = false;
            }
        }
        let fields = form.iter().map(|(name, value)| (name.value.as_str(), value.value.0.as_str()));
        if fine { Template::of_form(fields).ok() } else { None }
    }

    fn parts(&mut self, parts: &Spanned<Vec<PartKeys>>, scope: &Scope<'_>) -> Option<Vec<FormPart>> {
        if parts.value.is_empty() {
            self.mistake("missing-value", parts.span, "the form has no part", "add `- { name: NAME, value: TEXT }`");
        }
        let read: Vec<Option<FormPart>> = parts.value.iter().map(|part| self.part(part, scope)).collect();
        read.into_iter().collect()
    }

    fn part(&mut self, part: &PartKeys, scope: &Scope<'_>) -> Option<FormPart> {
        let name = &part.name.value.0;
        if let Some(media_type) = &part.media_type
            && http::HeaderValue::from_str(&media_type.value.0).is_err()
        {
            let message = format!("`{}` is not a media type that can be sent", media_type.value.0);
            self.mistake("bad-header", media_type.span, message, "write one such as `image/png`");
            return None;
        }
        let file_name = part.file_name.as_ref().map(|name| name.0.clone());
        let (content, file_name) = match (&part.value, &part.file) {
            (Some(value), None) => (FormContent::Text(self.fill(value, Encoding::Plain, scope)?), file_name),
            (None, Some(file)) => {
                let own = Path::new(&file.value.0).file_name().map(|name| name.to_string_lossy().into_owned());
                (FormContent::Bytes(self.bytes(file)?), file_name.or(own))
            }
            (Some(_), Some(file)) => {
                let message = format!("the part `{name}` has one content: `value` or `file`");
                self.mistake("conflicting-keys", file.span, message, "keep one of them");
                return None;
            }
            (None, None) => {
                self.mistake("missing-key", part.name.span, format!("the part `{name}` has no content"), "add `value:` or `file:`");
                return None;
            }
        };
        let content_type = part.media_type.as_ref().map(|media_type| media_type.value.0.clone());
        Some(FormPart { name: name.clone(), file_name, content_type, content })
    }

    /// The bytes of a file that a request sends.
    pub(in crate::config::resolve) fn bytes(&mut self, file: &Spanned<FilePath>) -> Option<bytes::Bytes> {
        self.read_file(&unescaped(&file.value.0), file.span).map(bytes::Bytes::from)
    }
}
