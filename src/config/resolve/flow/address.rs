//! Addresses of requests: put together with the target's base address, held against the allow list, cut into an origin that is
//! fixed and a path that is filled in.

use url::Position;

use super::Scope;
use crate::config::raw::text::{Fillable, placeholder, unescaped};
use crate::config::resolve::Resolver;
use crate::config::resolve::target::host_of;
use crate::model::profile::Target;
use crate::model::request::Address;
use crate::model::template::{Encoding, Template};
use crate::registry::{Span, Spanned, nearest};

/// Which schemes an address may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schemes {
    /// `http`, `https`.
    Web,
    /// `ws`, `wss`, and those of the base address.
    Socket,
}

impl Schemes {
    /// The scheme that is connected with.
    fn plain(self, scheme: &str) -> Option<&'static str> {
        match (self, scheme) {
            (Self::Web | Self::Socket, "http") | (Self::Socket, "ws") => Some("http"),
            (Self::Web | Self::Socket, "https") | (Self::Socket, "wss") => Some("https"),
            _ => None,
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Web => "http://host:port/path",
            Self::Socket => "ws://host:port/path",
        }
    }
}

impl Resolver<'_> {
    /// The address of a request: below the base address, or as given; its host must be allowed.
    pub(super) fn address(&mut self, text: &Spanned<Fillable>, schemes: Schemes, scope: &Scope<'_>) -> Option<Address> {
        let template = self.fill(text, Encoding::Url, scope);
        let written = &text.value.0;
        let (origin, path) = if written.starts_with("${") {
            // Its value may be a whole address: then the guard sees it.
            (origin_of(&self.base(written, text.span, scope.target?)?), written.clone())
        } else if written.starts_with('/') {
            let base = self.base(written, text.span, scope.target?)?;
            (origin_of(&base), format!("{}{written}", base.path().trim_end_matches('/')))
        } else {
            self.whole(text, schemes)?
        };
        if path.contains('#') {
            let message = format!("`{written}` has a fragment, which is never sent");
            self.mistake("bad-url", text.span, message, "leave out `#` and what follows, or write `%23`");
            return None;
        }
        self.allowed(&origin, text.span, scope.target?)?;
        template?;
        let path = match placeholder(&path) {
            Some(_) => self.template(&path, text.span, Encoding::Url)?,
            // Without placeholders it is written as browsers would send it.
            None => {
                let whole = format!("{}{}", origin.as_str().trim_end_matches('/'), unescaped(&path));
                let whole = url::Url::parse(&whole).ok()?;
                Template::literal(&whole[Position::BeforePath..Position::AfterQuery], Encoding::Url)
            }
        };
        Some(Address { origin, path })
    }

    /// The base address that `text` follows. `None` also when it is wrong, which was told.
    pub(super) fn base(&mut self, text: &str, span: Span, target: &Target) -> Option<url::Url> {
        if self.wrong_bases.contains(&target.name) {
            return None;
        }
        if target.base_url.is_none() {
            let message = format!("the target `{}` has no `base_url` that `{text}` could follow", target.name);
            self.mistake("missing-base-url", span, message, "add `base_url:` to the target, or write the whole address");
        }
        target.base_url.clone()
    }

    /// Origin and path of an address that is written whole.
    fn whole(&mut self, text: &Spanned<Fillable>, schemes: Schemes) -> Option<(url::Url, String)> {
        let written = &text.value.0;
        let (scheme, rest) = written.split_once("://").unwrap_or_default();
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if placeholder(authority).is_some() {
            let message = format!("the host of `{written}` is filled in, so that nobody can tell whether it is allowed");
            self.mistake("bad-url", text.span, message, "write the host out; the path can be filled in");
            return None;
        }
        let url = schemes.plain(scheme).and_then(|scheme| url::Url::parse(&format!("{scheme}://{authority}/")).ok());
        let Some(url) = url.filter(url::Url::has_host) else {
            let message = format!("`{written}` is neither a path nor an address that can be asked");
            self.mistake("bad-url", text.span, message, format!("begin a path with `/`, or write `{}`", schemes.example()));
            return None;
        };
        if authority.contains('@') {
            let hint = "write `basic: { user: NAME, password_file: FILE }` beside it";
            self.mistake("bad-url", text.span, "user and password are not sent as a part of an address", hint);
            return None;
        }
        Some((url, path))
    }

    /// Reports a host that the target may not reach.
    pub(in crate::config::resolve) fn allowed(&mut self, url: &url::Url, span: Span, target: &Target) -> Option<()> {
        let host = host_of(url)?;
        let base = target.base_url.as_ref().and_then(host_of);
        if base.as_ref() == Some(&host) || target.allow.contains(&host) {
            return Some(());
        }
        let allowed: Vec<&str> = target.allow.iter().chain(&base).map(String::as_str).collect();
        let hint = match nearest(&host, allowed) {
            Some(near) => format!("did you mean `{near}`? Else add `{host}` to `allow`"),
            None => format!("add `{host}` to `allow` of the target, if it may be loaded"),
        };
        self.mistake("host-not-allowed", span, format!("the target `{}` may not reach `{host}`", target.name), hint);
        None
    }
}

/// Scheme, host and port.
pub(super) fn origin_of(url: &url::Url) -> url::Url {
    let mut origin = url.clone();
    origin.set_path("/");
    origin.set_query(None);
    origin.set_fragment(None);
    origin
}
