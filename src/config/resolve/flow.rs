//! Flows: addresses put together and held against the allow list, bodies rendered, names of steps unique.

use super::Resolver;
use super::target::host_of;
use crate::config::raw::flow::{Branch, METHODS, RawFlow, StepKeys};
use crate::model::flow::{FlowNode, Step};
use crate::model::profile::Target;
use crate::model::request::{Address, Body, HttpRequest, Request};
use crate::model::template::{Encoding, Template};
use crate::registry::{Spanned, nearest};

impl Resolver<'_> {
    /// The flow of a scenario; `target` is `None` when it is unknown or wrong, so that addresses cannot be judged.
    pub(super) fn flow(
        &mut self,
        scenario: &Spanned<String>,
        raw: &Spanned<Vec<RawFlow>>,
        target: Option<&Target>,
    ) -> Option<Vec<FlowNode>> {
        let mut names = Vec::new();
        step_names(&raw.value, &mut names);
        if names.is_empty() {
            let message = format!("the flow of scenario `{}` makes no request", scenario.value);
            self.mistake("missing-key", raw.span, message, "add a node such as `{ step: home, get: / }`");
        }
        self.check_unique("step", names.iter().copied());
        self.nodes(&raw.value, target)
    }

    fn nodes(&mut self, raw: &[RawFlow], target: Option<&Target>) -> Option<Vec<FlowNode>> {
        let nodes: Vec<Option<FlowNode>> = raw
            .iter()
            .map(|node| match node {
                RawFlow::Step(keys) => self.step(keys, target).map(|step| FlowNode::Step(Box::new(step))),
                RawFlow::Choose(keys) => self.choose(&keys.choose, target),
                RawFlow::Pause(pause) => Some(FlowNode::Pause(pause.clone())),
            })
            .collect();
        nodes.into_iter().collect()
    }

    fn choose(&mut self, branches: &Spanned<Vec<Branch>>, target: Option<&Target>) -> Option<FlowNode> {
        if branches.value.is_empty() {
            self.mistake("missing-key", branches.span, "there is nothing to choose from", "add `- { weight: 1, do: [...] }`");
            return None;
        }
        let read: Vec<Option<(f64, Vec<FlowNode>)>> = branches
            .value
            .iter()
            .map(|branch| {
                let weight = branch.weight.value;
                if weight <= 0.0 {
                    self.mistake("out-of-range", branch.weight.span, "a weight must be above 0", "remove the choice, or write 1 or more");
                }
                self.nodes(&branch.flow, target).filter(|_| weight > 0.0).map(|flow| (weight, flow))
            })
            .collect();
        read.into_iter().collect::<Option<_>>().map(FlowNode::Choose)
    }

    fn step(&mut self, keys: &StepKeys, target: Option<&Target>) -> Option<Step> {
        self.check_label(&keys.step, "step");
        let (method, address) = self.method(keys)?;
        let headers = self.headers(keys);
        let body = match (&keys.json, &keys.body) {
            (Some(json), Some(_)) => {
                self.mistake("conflicting-keys", json.span, "a request has one body: `json` or `body`", "keep one of them");
                return None;
            }
            (Some(json), None) => Body::Text(Template::literal(json.value.to_json().to_string(), Encoding::Json)),
            (None, Some(body)) => Body::Text(Template::literal(body.value.clone(), Encoding::Plain)),
            (None, None) => Body::Empty,
        };
        if keys.timeout.is_zero() {
            self.mistake(
                "out-of-range",
                keys.step.span,
                format!("step `{}` has no time to answer", keys.step.value),
                "write `timeout: 60s`",
            );
        }
        let url = self.address(address, target)?;
        let path = Template::literal(&url[url::Position::BeforePath..url::Position::AfterQuery], Encoding::Url);
        let headers = headers?.into_iter().map(|(name, value)| (name, Template::literal(value, Encoding::Header))).collect();
        let address = Address { origin: url, path };
        let request = HttpRequest { method: method.to_uppercase(), address, headers, body, auth: None, redirects: None };
        let (name, checks) = (keys.step.value.clone(), keys.check.0.clone());
        Some(Step { name, request: Request::Http(request), checks, extracts: Vec::new(), timeout: keys.timeout })
    }

    fn method<'k>(&mut self, keys: &'k StepKeys) -> Option<(&'static str, &'k Spanned<String>)> {
        let given = [&keys.get, &keys.post, &keys.put, &keys.patch, &keys.delete, &keys.head, &keys.options];
        let mut given = METHODS.into_iter().zip(given).filter_map(|(method, address)| address.as_ref().map(|address| (method, address)));
        match (given.next(), given.next()) {
            (Some(one), None) => Some(one),
            (Some((first, _)), Some((second, address))) => {
                let message = format!("step `{}` has both `{first}` and `{second}`", keys.step.value);
                self.mistake("conflicting-keys", address.span, message, "a step is one request: begin a new one with `-`");
                None
            }
            (None, _) => {
                let message = format!("step `{}` requests nothing", keys.step.value);
                self.mistake("missing-key", keys.step.span, message, "add `get: /path`, or post, put, patch, delete, head, options");
                None
            }
        }
    }

    /// The whole address: below the base address, or as given; its host must be allowed.
    fn address(&mut self, address: &Spanned<String>, target: Option<&Target>) -> Option<url::Url> {
        let text = &address.value;
        let whole = if text.starts_with('/') {
            let target = target?;
            if self.wrong_bases.contains(&target.name) {
                return None;
            }
            let Some(base) = &target.base_url else {
                let message = format!("the target `{}` has no `base_url` that `{text}` could follow", target.name);
                self.mistake("missing-base-url", address.span, message, "add `base_url:` to the target, or write the whole address");
                return None;
            };
            format!("{}{text}", base.as_str().trim_end_matches('/'))
        } else {
            text.clone()
        };
        let url = url::Url::parse(&whole).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else {
            let message = format!("`{text}` is neither a path nor an http address");
            self.mistake("bad-url", address.span, message, "begin a path with `/`, or write `http://host:port/path`");
            return None;
        };
        let target = target?;
        let host = host_of(&url)?;
        let base = target.base_url.as_ref().and_then(host_of);
        if base.as_ref() != Some(&host) && !target.allow.contains(&host) {
            let allowed: Vec<&str> = target.allow.iter().chain(&base).map(String::as_str).collect();
            let hint = match nearest(&host, allowed) {
                Some(near) => format!("did you mean `{near}`? Else add `{host}` to `allow`"),
                None => format!("add `{host}` to `allow` of the target, if it may be loaded"),
            };
            self.mistake("host-not-allowed", address.span, format!("the target `{}` may not reach `{host}`", target.name), hint);
            return None;
        }
        Some(url)
    }

    fn headers(&mut self, keys: &StepKeys) -> Option<Vec<(String, String)>> {
        let mut headers = Vec::new();
        let mut fine = true;
        for (name, value) in keys.headers.iter() {
            if http::HeaderName::from_bytes(name.value.as_bytes()).is_err() || http::HeaderValue::from_str(value).is_err() {
                self.mistake("bad-header", name.span, format!("`{}` is not a header that can be sent", name.value), "use visible ASCII");
                fine = false;
            }
            headers.push((name.value.clone(), value.clone()));
        }
        let has = |headers: &[(String, String)], wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        if !has(&headers, "content-type") {
            if keys.json.is_some() {
                headers.push(("content-type".into(), "application/json".into()));
            } else if keys.body.is_some() {
                headers.push(("content-type".into(), "text/plain; charset=utf-8".into()));
            }
        }
        if let Some(token) = &keys.bearer {
            if has(&headers, "authorization") {
                let message = format!("step `{}` has both `bearer` and an authorization header", keys.step.value);
                self.mistake("conflicting-keys", keys.step.span, message, "keep one of them");
                fine = false;
            }
            if http::HeaderValue::from_str(token.expose()).is_err() {
                let message = format!("the token of step `{}` cannot be sent in a header", keys.step.value);
                self.mistake("bad-header", keys.step.span, message, "it must be one line of visible ASCII");
                fine = false;
            }
            headers.push(("authorization".into(), format!("Bearer {}", token.expose())));
        }
        fine.then_some(headers)
    }
}

fn step_names<'f>(flow: &'f [RawFlow], names: &mut Vec<&'f Spanned<String>>) {
    for node in flow {
        match node {
            RawFlow::Step(keys) => names.push(&keys.step),
            RawFlow::Choose(keys) => keys.choose.value.iter().for_each(|branch| step_names(&branch.flow, names)),
            RawFlow::Pause(_) => {}
        }
    }
}
