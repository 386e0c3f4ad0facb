//! What the iterations of a scenario do, whatever its executor: their flow, the rows they take values from, how their VUs connect.

use super::Resolver;
use super::flow::{Line, Names, Scope};
use super::profile::InProfile;
use crate::config::raw::http::HttpKeys;
use crate::config::raw::scenario::CommonKeys;
use crate::model::flow::{Feeder, FlowNode};
use crate::model::request::{HttpOptions, HttpVersion};
use crate::registry::Spanned;

/// What iterations do.
pub(super) struct IterationLoad {
    pub(super) data: Vec<Feeder>,
    pub(super) http: HttpOptions,
    pub(super) flow: Vec<FlowNode>,
}

impl Resolver<'_> {
    /// What the iterations of a scenario with so many VUs at most do. `None` when a mistake was told.
    pub(super) fn iteration(
        &mut self,
        name: &Spanned<String>,
        keys: &CommonKeys,
        vus: Option<u64>,
        profile: &mut InProfile<'_>,
    ) -> Option<IterationLoad> {
        let http = keys.http.as_ref().map(http_options).or_else(|| profile.http.clone()).unwrap_or_default();
        let data = self.data(&keys.data, vus);
        let flow = self.iteration_flow(name, keys, &data, &http, profile);
        let data = data.into_iter().map(|(_, feeder)| feeder).collect::<Option<_>>();
        Some(IterationLoad { data: data?, http, flow: flow? })
    }

    /// What one iteration does, with what its templates may speak of.
    fn iteration_flow(
        &mut self,
        name: &Spanned<String>,
        keys: &CommonKeys,
        data: &[(String, Option<Feeder>)],
        http: &HttpOptions,
        profile: &mut InProfile<'_>,
    ) -> Option<Vec<FlowNode>> {
        let mut names = Names::at_start_of(&keys.flow.value, profile.setup.clone());
        // A definition that could not even be read leaves its name, so that no second mistake is told about it.
        names.data = keys.data.iter().map(|(name, _)| (name.value.clone(), None)).collect();
        names.data.extend(data.iter().map(|(name, feeder)| (name.clone(), feeder.as_ref().map(|feeder| feeder.columns.clone()))));
        let mut scope = Scope {
            owner: format!("scenario `{}`", name.value),
            target: profile.target,
            auth: self.inherited(keys.auth.as_ref(), profile.target),
            redirects: http.redirects,
            names,
            tokens: Some(&mut profile.tokens),
            socket: Line::None,
        };
        self.check_requests(&keys.flow, &scope);
        self.flow(&keys.flow, &mut scope)
    }
}

/// How its VUs connect.
pub(super) fn http_options(keys: &HttpKeys) -> HttpOptions {
    HttpOptions {
        version: keys.version.map_or(HttpVersion::Auto, |version| version.0),
        connections: keys.connections,
        redirects: keys.redirects,
        dns_ttl: keys.dns_ttl,
        max_body: keys.max_body.0,
        compression: keys.compression,
        cookies: keys.cookies,
    }
}
