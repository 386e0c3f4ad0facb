//! gRPC calls: the schema is compiled when the configuration is read, so that a method that does not exist and a message that does
//! not fit are told before any load. By reflection that can only be told when a run starts.

use std::path::PathBuf;
use std::time::Duration;

use super::Scope;
use super::address::origin_of;
use crate::config::raw::flow::step::{GrpcStep, RawStep};
use crate::config::raw::text::{Fillable, placeholder, unescaped};
use crate::config::resolve::Resolver;
use crate::model::request::{GrpcRequest, GrpcSchema, GrpcStream};
use crate::model::template::Template;
use crate::model::units::format_duration;
use crate::protocol::grpc::schema::{Schema, SchemaError, load, split_call};
use crate::protocol::grpc::settings::GrpcKeys;
use crate::protocol::grpc::{Hop, Method, Misfit};
use crate::registry::{FilePath, Named, Node, Span, Spanned, Value};

/// Schemas that were compiled, by their files and folders.
pub(in crate::config::resolve) type Schemas = Vec<((Vec<PathBuf>, Vec<PathBuf>), Option<Schema>)>;

impl Resolver<'_> {
    /// The call of a step.
    pub(super) fn grpc_request(&mut self, raw: &RawStep, step: &GrpcStep, scope: &mut Scope<'_>) -> Option<GrpcRequest> {
        let (keys, span) = (&step.grpc.value, step.grpc.span);
        let origin = self.grpc_origin(keys, span, scope);
        let metadata =
            keys.metadata.iter().map(|(name, value)| (name.clone(), Spanned { value: Fillable(value.value.clone()), span: value.span }));
        let metadata = self.headers(&Named(metadata.collect()), scope);
        let auth = self.step_auth(raw, metadata.as_deref().unwrap_or_default(), scope);
        let call = self.call(&keys.call);
        let schema = self.schema(keys, span);
        let messages = self.messages(keys, scope);
        let stream = self.stream(keys, step.timeout);
        if let (Some((service, method)), Some((_, Some(schema)))) = (&call, &schema)
            && let Some(method) = self.grpc_method(schema, service, method, &keys.call)
        {
            self.check_messages(keys, &method);
            if let Err(error) = method.suits(&stream) {
                let places = [keys.take.as_ref().map(|key| key.span), keys.lasting.as_ref().map(|key| key.span)];
                let place = places.into_iter().flatten().next().filter(|_| !method.server_streams());
                let place = place.or_else(|| keys.every.as_ref().map(|key| key.span)).unwrap_or(span);
                self.mistake("bad-grpc", place, error.message, error.hint);
            }
        }
        let (service, method) = call?;
        let (schema, _) = schema?;
        Some(GrpcRequest { origin: origin?, service, method, schema, messages: messages?, metadata: metadata?, auth: auth.ok()?, stream })
    }

    fn grpc_origin(&mut self, keys: &GrpcKeys, span: Span, scope: &Scope<'_>) -> Option<url::Url> {
        let target = scope.target?;
        let Some(address) = &keys.address else {
            return self.base("the call", span, target).map(|base| origin_of(&base));
        };
        let text = unescaped(&address.value);
        let whole = if text.contains("://") { text.clone() } else { format!("http://{text}") };
        let url = url::Url::parse(&whole).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.filter(|url| url.path() == "/" && url.query().is_none() && url.fragment().is_none());
        let Some(url) = url.filter(|_| placeholder(&address.value).is_none()) else {
            let message = format!("`{}` is not an address that can be called", address.value);
            self.mistake("bad-url", address.span, message, "write `host:port`, or `https://host:port` for TLS");
            return None;
        };
        self.allowed(&url, address.span, target)?;
        Some(url)
    }

    /// Service and method.
    fn call(&mut self, call: &Spanned<String>) -> Option<(String, String)> {
        match split_call(&call.value) {
            Ok((service, method)) if placeholder(&call.value).is_none() => Some((service.to_owned(), method.to_owned())),
            Ok(_) => {
                self.mistake("bad-grpc", call.span, "the method that is called cannot be filled in", "write `package.Service/Method`");
                None
            }
            Err(error) => {
                self.mistake("bad-grpc", call.span, error.message, error.hint);
                None
            }
        }
    }

    /// Where the schema comes from, and the schema itself unless the server is asked for it.
    fn schema(&mut self, keys: &GrpcKeys, span: Span) -> Option<(GrpcSchema, Option<Schema>)> {
        let reflection = keys.reflection.as_ref().is_some_and(|reflection| reflection.value);
        let Some(first) = keys.proto.first() else {
            if !reflection {
                self.mistake("missing-key", span, "a gRPC call needs a schema", "add `proto: FILE.proto`, or `reflection: true`");
                return None;
            }
            if let Some(include) = keys.include.first() {
                self.mistake("conflicting-keys", include.span, "`include` belongs to `proto`", "remove it");
            }
            return Some((GrpcSchema::Reflection, None));
        };
        if let Some(given) = keys.reflection.as_ref().filter(|_| reflection) {
            let message = "the schema comes from one place: `proto` or `reflection`";
            self.mistake("conflicting-keys", given.span, message, "keep one of them");
            return None;
        }
        let paths = |list: &[Spanned<FilePath>]| list.iter().map(|path| PathBuf::from(unescaped(&path.value.0))).collect::<Vec<_>>();
        let (files, includes) = (paths(&keys.proto), paths(&keys.include));
        let schema = self.compiled(&files, &includes, first.span)?;
        Some((GrpcSchema::Files(files, includes), Some(schema)))
    }

    /// The schema of these files, compiled once.
    fn compiled(&mut self, files: &[PathBuf], includes: &[PathBuf], span: Span) -> Option<Schema> {
        let key = (files.to_vec(), includes.to_vec());
        if let Some((_, known)) = self.schemas.iter().find(|(known, _)| *known == key) {
            return known.clone();
        }
        let schema = load(files, includes).map_err(|error| self.refuse_schema(span, error)).ok();
        self.schemas.push((key, schema.clone()));
        schema
    }

    fn refuse_schema(&mut self, span: Span, error: SchemaError) {
        let place = error.place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        let message = match error.file {
            Some(file) => format!("{file}{place}: {}", error.message),
            None => error.message,
        };
        self.mistake("bad-grpc", span, message, error.hint);
    }

    fn grpc_method(&mut self, schema: &Schema, service: &str, method: &str, call: &Spanned<String>) -> Option<Method> {
        schema.method(service, method).map_err(|error| self.mistake("bad-grpc", call.span, error.message, error.hint)).ok()
    }

    /// The messages in order; an empty one when none is given.
    fn messages(&mut self, keys: &GrpcKeys, scope: &Scope<'_>) -> Option<Vec<Template>> {
        let given = match (&keys.message, &keys.messages) {
            (Some(_), Some(many)) => {
                self.mistake("conflicting-keys", many.span, "both `message` and `messages` are given", "keep one of them");
                return None;
            }
            (Some(one), None) => vec![&one.value],
            (None, Some(many)) => many.value.iter().collect(),
            (None, None) => return Template::of_json(&serde_json::json!({})).ok().map(|empty| vec![empty]),
        };
        let read: Vec<Option<Template>> = given.into_iter().map(|message| self.document(message, scope)).collect();
        read.into_iter().collect()
    }

    /// How its streams go. What takes longer than the whole call may is a mistake: it would always end as a timeout.
    fn stream(&mut self, keys: &GrpcKeys, timeout: Duration) -> GrpcStream {
        let out_of_range = "out-of-range";
        if let Some(none) = keys.take.as_ref().filter(|take| take.value == 0) {
            self.mistake(out_of_range, none.span, "a call that takes no message is over before it begins", "write `take: 1`");
        }
        for (key, pieces) in
            [(&keys.lasting, 1), (&keys.every, keys.messages.as_ref().map_or(1, |many| many.value.len()).saturating_sub(1))]
        {
            let Some(given) = key else { continue };
            let needs = given.value.saturating_mul(u32::try_from(pieces).unwrap_or(u32::MAX));
            if given.value.is_zero() {
                self.mistake(out_of_range, given.span, "no time at all is too short", "write `1s`, or remove it");
            } else if needs >= timeout {
                let message =
                    format!("it takes {}, but the call may take {} (`timeout`)", format_duration(needs), format_duration(timeout));
                self.mistake(out_of_range, given.span, message, "write a longer `timeout` for the step");
            }
        }
        let [lasting, every] = [&keys.lasting, &keys.every].map(|key| key.as_ref().map(|key| key.value));
        GrpcStream { take: keys.take.as_ref().map(|take| take.value), lasting, every }
    }

    fn check_messages(&mut self, keys: &GrpcKeys, method: &Method) {
        let (given, span) = match (&keys.message, &keys.messages) {
            (Some(one), None) => (vec![&one.value], one.span),
            (None, Some(many)) => (many.value.iter().collect(), many.span),
            _ => return,
        };
        if let Err(error) = method.takes(given.len()) {
            self.mistake("bad-grpc", span, error.message, error.hint);
        }
        for message in given {
            for misfit in method.misfits(&message.to_json()) {
                let place = place_of(message, &misfit);
                self.mistake("bad-grpc", place, misfit.message, misfit.hint);
            }
        }
    }
}

/// Where in the file something that does not fit stands.
fn place_of(message: &Node, misfit: &Misfit) -> Span {
    let mut at = message;
    let mut key = None;
    for hop in &misfit.at {
        let next = match (hop, &at.value) {
            (Hop::Key(name), Value::Map(entries)) => entries.iter().find(|entry| entry.key == *name).map(|entry| {
                key = Some(entry.span);
                &entry.node
            }),
            (Hop::Index(index), Value::List(items)) => items.get(*index),
            _ => None,
        };
        let Some(next) = next else { return at.span };
        at = next;
    }
    key.filter(|_| misfit.is_key).unwrap_or(at.span)
}
