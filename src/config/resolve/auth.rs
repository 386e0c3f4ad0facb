//! How requests prove who asks: the nearest of step, scenario and target says it. A token that VUs share becomes a source of the
//! profile, each source once, however many places name it.

use std::collections::BTreeMap;

use super::Resolver;
use super::flow::{Known, Line, Names, Scope, sendable};
use crate::config::raw::Attempt;
use crate::config::raw::auth::{LoginKeys, RawAuth, RawBasic, RawOAuth2, RawWay};
use crate::config::raw::flow::step::RawStep;
use crate::config::raw::text::RawSecret;
use crate::model::profile::Target;
use crate::model::request::{Auth, Hidden, TokenSource};
use crate::model::template::{Encoding, Template};
use crate::registry::{Named, Span, Spanned, suggest};

/// A way to prove who asks that has been read, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct ReadyAuth {
    way: Way,
    span: Span,
}

#[derive(Debug, Clone)]
enum Way {
    /// Sent with each request.
    Own(Auth),
    /// A token that VUs share.
    Shared(Box<TokenSource>),
}

/// What a target says of it.
#[derive(Debug, Default)]
pub(super) struct Identities {
    /// For all requests.
    default: Option<ReadyAuth>,
    /// By name; `None`: a mistake was told.
    named: BTreeMap<String, Option<ReadyAuth>>,
}

/// A mistake was told.
#[derive(Debug)]
pub(super) struct Told;

/// What some place says of it.
enum Chosen {
    /// Not at all.
    Nothing,
    /// So.
    Ready(ReadyAuth),
    /// A mistake was told.
    Wrong,
}

impl Resolver<'_> {
    /// What a target says: its identities, and which of them is for all requests.
    pub(super) fn identities(&mut self, named: &Named<Attempt<RawWay>>, default: Option<&Spanned<RawAuth>>, target: &Target) {
        let mut identities = Identities::default();
        for (name, way) in named.iter() {
            self.check_name(name, "identity");
            if name.value == "none" {
                self.mistake("bad-name", name.span, "`none` stands for no authentication", "choose another name");
            }
            let ready = way.0.as_ref().and_then(|way| self.way(way, name.span, Some(target)));
            identities.named.insert(name.value.clone(), ready);
        }
        self.identities.insert(target.name.clone(), identities);
        let default = default.and_then(|auth| match self.auth(auth, Some(target)) {
            Chosen::Ready(ready) => Some(ready),
            Chosen::Nothing | Chosen::Wrong => None,
        });
        if let Some(identities) = self.identities.get_mut(&target.name) {
            identities.default = default;
        }
    }

    /// What the requests of a scenario, setup or teardown do, unless they say otherwise.
    pub(super) fn inherited(&mut self, own: Option<&Spanned<RawAuth>>, target: Option<&Target>) -> Option<ReadyAuth> {
        match own.map(|auth| self.auth(auth, target)) {
            Some(Chosen::Ready(ready)) => Some(ready),
            Some(Chosen::Nothing | Chosen::Wrong) => None,
            None => target.and_then(|target| self.identities.get(&target.name)).and_then(|known| known.default.clone()),
        }
    }

    /// What `auth:` says somewhere.
    fn auth(&mut self, raw: &Spanned<RawAuth>, target: Option<&Target>) -> Chosen {
        let ready = match &raw.value {
            RawAuth::None => return Chosen::Nothing,
            RawAuth::Way(way) => self.way(way, raw.span, target),
            RawAuth::Name(name) => {
                let Some(identities) = target.and_then(|target| self.identities.get(&target.name)) else { return Chosen::Wrong };
                let Some(known) = identities.named.get(name) else {
                    let names: Vec<&str> = identities.named.keys().map(String::as_str).chain(["none"]).collect();
                    let hint = suggest(name, names.iter().copied());
                    self.mistake("unknown-identity", raw.span, format!("the target has no identity `{name}`"), hint);
                    return Chosen::Wrong;
                };
                known.clone()
            }
        };
        ready.map_or(Chosen::Wrong, Chosen::Ready)
    }

    fn way(&mut self, way: &RawWay, span: Span, target: Option<&Target>) -> Option<ReadyAuth> {
        let way = match way {
            RawWay::Basic(basic) => Way::Own(self.basic(basic)?),
            RawWay::Bearer(token) => Way::Own(self.bearer(&token.value, token.span)?),
            RawWay::OAuth2(keys) => Way::Shared(Box::new(self.oauth2(keys, target)?)),
            RawWay::Login(keys) => Way::Shared(Box::new(self.login(keys, target)?)),
        };
        Some(ReadyAuth { way, span })
    }

    fn basic(&mut self, raw: &Spanned<RawBasic>) -> Option<Auth> {
        let user = self.template(&raw.value.user.value.0, raw.value.user.span, Encoding::Plain)?;
        if user.constant().is_some_and(|user| user.contains(':')) {
            let message = "a user with a `:` cannot be sent by basic authentication";
            self.mistake("bad-header", raw.value.user.span, message, "what follows the `:` would be taken for the password");
            return None;
        }
        let password = &raw.value.password;
        let password = self.secret(&password.value, password.span, Encoding::Plain)?;
        Some(Auth::Basic(user, Hidden(password)))
    }

    fn secret(&mut self, secret: &RawSecret, span: Span, encoding: Encoding) -> Option<Template> {
        match secret {
            // What is wrong with it is not quoted: it may be a part of the secret.
            RawSecret::Written(secret) => Template::parse(secret.expose(), encoding)
                .map_err(|_| self.mistake("bad-template", span, "a `${…}` in this secret cannot be read", "write `$${` for a literal `${`"))
                .ok(),
            RawSecret::Kept(secret) => Some(Template::literal(secret.expose(), encoding)),
        }
    }

    fn bearer(&mut self, token: &RawSecret, span: Span) -> Option<Auth> {
        let token = self.secret(token, span, Encoding::Header)?;
        if !sendable(&token) || token.constant() == Some("") {
            self.mistake("bad-header", span, "the token cannot be sent in a header", "it must be one line of visible ASCII");
            return None;
        }
        Some(Auth::Bearer(Hidden(token)))
    }

    fn oauth2(&mut self, raw: &Spanned<RawOAuth2>, target: Option<&Target>) -> Option<TokenSource> {
        let keys = &raw.value.keys;
        self.allowed(&keys.token_url.value.0, keys.token_url.span, target?)?;
        let scope: Vec<&str> = keys.scope.iter().map(|scope| scope.0.as_str()).collect();
        Some(TokenSource::ClientCredentials {
            token_url: keys.token_url.value.0.clone(),
            client_id: keys.client_id.value.0.clone(),
            client_secret: Hidden(raw.value.client_secret.expose().to_owned()),
            scope: (!scope.is_empty()).then(|| scope.join(" ")),
            audience: keys.audience.as_ref().map(|audience| audience.0.clone()),
            in_body: keys.in_body,
        })
    }

    fn login(&mut self, raw: &Spanned<LoginKeys>, target: Option<&Target>) -> Option<TokenSource> {
        let keys = &raw.value;
        let names = Names::at_start_of(&keys.flow.value, Known::default());
        let owner = "the login".to_owned();
        let mut scope = Scope { owner, target, auth: None, redirects: super::REDIRECTS, names, tokens: None, socket: Line::None };
        self.check_requests(&keys.flow, &scope);
        let flow = self.flow(&keys.flow, &mut scope);
        let token = self.template(&keys.token.value.0, keys.token.span, Encoding::Header)?;
        let known = self.names_of([&token], &keys.token.value.0, keys.token.span, &scope.names);
        if let Some(refresh) = &keys.refresh
            && refresh.value.is_zero()
        {
            self.mistake("out-of-range", refresh.span, "a token is used for some time", "write a time such as `10m`");
            return None;
        }
        let refresh = keys.refresh.as_ref().map(|refresh| refresh.value);
        known.then_some(())?;
        Some(TokenSource::Login { flow: flow?, token, refresh })
    }

    /// How the request of a step proves who asks; `None`: not at all.
    pub(super) fn step_auth(&mut self, raw: &RawStep, headers: &[(String, Template)], scope: &mut Scope<'_>) -> Result<Option<Auth>, Told> {
        let name = raw.name();
        let header = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let given = raw.proof();
        if let [(first, _), (second, auth), ..] = &given[..] {
            let message = format!("step `{}` has both `{first}` and `{second}`", name.value);
            self.mistake("conflicting-keys", auth.span, message, "keep one of them");
            return Err(Told);
        }
        let chosen = match given.first() {
            Some((key, auth)) if header && !matches!(auth.value, RawAuth::None) => {
                let message = format!("step `{}` has both `{key}` and an authorization header", name.value);
                self.mistake("conflicting-keys", auth.span, message, "keep one of them");
                return Err(Told);
            }
            Some((_, auth)) => match self.auth(auth, scope.target) {
                Chosen::Nothing => None,
                Chosen::Ready(ready) => Some(ready),
                Chosen::Wrong => return Err(Told),
            },
            // A header of the step's own is nearer than what the scenario or the target say.
            None if header => None,
            None => scope.auth.clone(),
        };
        match chosen {
            None => Ok(None),
            Some(ready) => self.applied(ready, &name, scope).map(Some).ok_or(Told),
        }
    }

    /// The way as a request has it, with the names in it looked up.
    fn applied(&mut self, ready: ReadyAuth, step: &Spanned<String>, scope: &mut Scope<'_>) -> Option<Auth> {
        match ready.way {
            Way::Own(auth) => {
                let templates = match &auth {
                    Auth::Basic(user, Hidden(password)) => vec![user, password],
                    Auth::Bearer(Hidden(token)) => vec![token],
                    Auth::Shared(_) => Vec::new(),
                };
                for expression in templates.iter().flat_map(|template| template.references()) {
                    if let Err((message, hint)) = scope.names.check(expression) {
                        let message = format!("step `{}` is to send `${{{}}}`: {message}", step.value, expression.source);
                        let later = scope.names.anywhere.contains(expression.head())
                            && scope.auth.as_ref().is_some_and(|auth| auth.span == ready.span);
                        let hint = if later { "give that step `auth: none`".to_owned() } else { hint };
                        self.mistake("unknown-variable", ready.span, message, hint);
                        return None;
                    }
                }
                Some(auth)
            }
            Way::Shared(source) => {
                let Some(tokens) = scope.tokens.as_deref_mut() else {
                    let message = format!("step `{}` belongs to a login, which cannot wait for another token", step.value);
                    self.mistake("conflicting-keys", ready.span, message, "write `basic:` or `bearer:`, or leave it out");
                    return None;
                };
                let index = tokens.iter().position(|known| *known == *source).unwrap_or_else(|| {
                    tokens.push(*source);
                    tokens.len() - 1
                });
                Some(Auth::Shared(index as u16))
            }
        }
    }
}
