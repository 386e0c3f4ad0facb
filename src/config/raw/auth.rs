//! How requests prove who asks, as written at a target, a scenario or a step: `none`, the name of an identity, or a mapping with
//! one of the ways.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::flow::RawNodes;
use super::text::{Fillable, Fixed, RawSecret, SecretFile, placeholder};
use crate::registry::{Context, Decode, Node, Secret, Spanned, Value, WebUrl};
use crate::settings;

/// `auth:`.
#[derive(Debug, Clone)]
pub(crate) enum RawAuth {
    /// `none`.
    None,
    /// The name of an identity of the target.
    Name(String),
    /// Defined on the spot.
    Way(Box<RawWay>),
}

settings! {
    /// How requests prove who asks: one of the keys.
    pub(crate) struct AuthKeys titled "`auth`" {
        /// User and password (RFC 7617).
        basic: optional Spanned<RawBasic>,
        /// Token (RFC 6750), sent as `authorization: Bearer TOKEN`.
        bearer: optional Spanned<Secret>,
        /// File that holds `bearer`.
        bearer_file: optional Spanned<SecretFile>,
        /// A token that all VUs share, from an OAuth 2 server by client credentials; got again before it expires.
        oauth2: optional Spanned<RawOAuth2>,
        /// A token that all VUs share, from a login flow of your own.
        login: optional Spanned<LoginKeys>,
    }
}

settings! {
    /// User and password.
    pub(crate) struct BasicKeys titled "`basic`" {
        /// User.
        user: required Spanned<Fillable>,
        /// Password.
        password: optional Spanned<Secret>,
        /// File that holds `password`.
        password_file: optional Spanned<SecretFile>,
    }
}

settings! {
    /// OAuth 2 client credentials (RFC 6749, section 4.4).
    pub(crate) struct OAuth2Keys titled "`oauth2`" {
        /// Address where the token is asked for; its host must be allowed.
        token_url: required Spanned<WebUrl>,
        /// Client.
        client_id: required Spanned<Fixed>,
        /// Its secret.
        client_secret: optional Spanned<Secret>,
        /// File that holds `client_secret`.
        client_secret_file: optional Spanned<SecretFile>,
        /// Scopes asked for.
        scope: default Vec<Fixed>,
        /// Audience asked for.
        audience: optional Fixed,
        /// Send id and secret in the form, instead of by basic authentication.
        in_body: default bool = false,
    }
}

settings! {
    /// A login that one VU does for all.
    pub(crate) struct LoginKeys titled "`login`" {
        /// Its requests; they are counted apart from the run's figures, and carry no `auth` of the target or scenario.
        flow: required Spanned<RawNodes>,
        /// The token, after it: `${token}`.
        token: required Spanned<Fillable>,
        /// Log in again after so long. Without it: once per run.
        refresh: optional Spanned<Duration>,
    }
}

/// `basic:`, with its password.
#[derive(Debug, Clone)]
pub(crate) struct RawBasic {
    pub(crate) user: Spanned<Fillable>,
    pub(crate) password: Spanned<RawSecret>,
}

impl Decode for RawBasic {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let before = cx.diagnostics.0.len();
        let keys = BasicKeys::decode(node, cx)?;
        let password = RawSecret::of("password", keys.password.as_ref(), keys.password_file.as_ref(), cx);
        let password = needed(password, "`basic` lacks the key `password`", "add `password:` or `password_file:`", before, node, cx)?;
        Some(Self { user: keys.user, password })
    }
    fn schema() -> Json {
        BasicKeys::schema()
    }
}

/// `oauth2:`, with its secret.
#[derive(Debug, Clone)]
pub(crate) struct RawOAuth2 {
    pub(crate) keys: OAuth2Keys,
    pub(crate) client_secret: Secret,
}

impl Decode for RawOAuth2 {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let before = cx.diagnostics.0.len();
        let keys = OAuth2Keys::decode(node, cx)?;
        let hint = "add `client_secret:` or `client_secret_file:`";
        let secret = RawSecret::of("client_secret", keys.client_secret.as_ref(), keys.client_secret_file.as_ref(), cx);
        let secret = needed(secret, "`oauth2` lacks the key `client_secret`", hint, before, node, cx)?;
        if let RawSecret::Written(written) = &secret.value
            && placeholder(written.expose()).is_some()
        {
            let message = "a client secret is the same for all: nothing in it is filled in";
            cx.diagnostics.push("unknown-variable", secret.span, message, "write `$${` for a literal `${`, or `client_secret_file:`");
            return None;
        }
        Some(Self { keys, client_secret: Secret::new(secret.value.fixed()) })
    }
    fn schema() -> Json {
        OAuth2Keys::schema()
    }
}

/// A secret that must be given; its absence is told unless something else was wrong.
fn needed<T>(secret: Option<T>, message: &str, hint: &str, before: usize, node: &Node, cx: &mut Context<'_>) -> Option<T> {
    if secret.is_none() && cx.diagnostics.0.len() == before {
        cx.diagnostics.push("missing-key", node.span, message, hint);
    }
    secret
}

/// One of the ways.
#[derive(Debug, Clone)]
pub(crate) enum RawWay {
    /// User and password.
    Basic(Spanned<RawBasic>),
    /// A token.
    Bearer(Spanned<RawSecret>),
    /// A token from an OAuth 2 server.
    OAuth2(Spanned<RawOAuth2>),
    /// A token from a login flow.
    Login(Spanned<LoginKeys>),
}

impl Decode for RawWay {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let before = cx.diagnostics.0.len();
        let keys = AuthKeys::decode(node, cx)?;
        let bearer = RawSecret::of("bearer", keys.bearer.as_ref(), keys.bearer_file.as_ref(), cx);
        let ways = [keys.basic.map(Self::Basic), bearer.map(Self::Bearer), keys.oauth2.map(Self::OAuth2), keys.login.map(Self::Login)];
        let mut ways = ways.into_iter().flatten();
        match (ways.next(), ways.next()) {
            (Some(way), None) => Some(way),
            (Some(_), Some(_)) => {
                let message = "a request proves in one way who asks: `basic`, `bearer`, `oauth2` or `login`";
                cx.diagnostics.push("conflicting-keys", node.span, message, "keep one of them");
                None
            }
            (None, _) => {
                if cx.diagnostics.0.len() == before {
                    let hint = "add one of `basic:`, `bearer:`, `oauth2:`, `login:`";
                    cx.diagnostics.push("missing-key", node.span, "authentication says how", hint);
                }
                None
            }
        }
    }
    fn schema() -> Json {
        AuthKeys::schema()
    }
}

impl Decode for RawAuth {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(_) => RawWay::decode(node, cx).map(|way| Self::Way(Box::new(way))),
            Value::Text(word) if word == "none" => Some(Self::None),
            Value::Text(name) => Some(Self::Name(name.clone())),
            Value::Null | Value::Bool(_) | Value::Number(..) | Value::List(_) => {
                cx.wrong_type(node, "`none`, the name of an identity, or a mapping such as `{ bearer_file: token }`")
            }
        }
    }
    fn schema() -> Json {
        json!({"$ref": "#/$defs/auth"})
    }
}

impl RawAuth {
    /// The schema that `$defs/auth` holds; it stands in many places.
    pub(crate) fn definition() -> Json {
        json!({"anyOf": [{"type": "string", "examples": ["none"]}, AuthKeys::schema()]})
    }
}
