//! The gRPC side of the demo target, on the same port as its HTTP side: `events.v1.Events`, health and server reflection. Calls pass the
//! same faults and take connections of the same pool.

mod events;
mod health;
mod messages;

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use tonic::codegen::Service;
use tonic::server::Grpc;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tonic_reflection::server::Builder;

use super::api::{App, Failure};
use super::pool::AcquireError;

/// The schema, by the names under which reflection tells it. The example's file is the one that is served.
const FILES: [(&str, &str); 2] = [
    ("events.proto", include_str!("../../../config/examples/challenge/events.proto")),
    ("grpc/health/v1/health.proto", include_str!("health.proto")),
];

/// Paths of the methods, for counting.
pub(in crate::demo) const METHODS: &[&str] = &[
    "/events.v1.Events/Record",
    "/events.v1.Events/Upload",
    "/events.v1.Events/Watch",
    "/events.v1.Events/Chat",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// Why the gRPC side cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The schema does not compile.
    #[error(transparent)]
    Proto(#[from] protox::Error),
    /// Reflection cannot tell it.
    #[error(transparent)]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// All methods.
pub(super) fn router() -> Result<Router<Arc<App>>, SchemaError> {
    let schema = compile()?;
    let reflection = || Builder::configure().register_encoded_file_descriptor_set(&schema);
    Ok(Router::new()
        .merge(events::router())
        .merge(health::router())
        .route_service("/grpc.reflection.v1.ServerReflection/{method}", reflection().build_v1()?)
        .route_service("/grpc.reflection.v1alpha.ServerReflection/{method}", reflection().build_v1alpha()?))
}

/// The schema as reflection wants it: encoded, with everything that it imports.
fn compile() -> Result<Vec<u8>, protox::Error> {
    struct Built;
    impl FileResolver for Built {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            let source = FILES.iter().find(|(known, _)| *known == name).ok_or_else(|| protox::Error::file_not_found(name))?;
            File::from_source(name, source.1)
        }
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(Built);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_files(FILES.map(|(name, _)| name))?;
    Ok(compiler.encode_file_descriptor_set())
}

/// Whether a request is a gRPC call.
pub(super) fn is_call(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The answer to a call that a fault hits, by the HTTP status of the fault.
pub(super) fn refusal(http: u16) -> Response {
    let code = match http {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::AlreadyExists,
        429 => Code::ResourceExhausted,
        500.. => Code::Unavailable,
        _ => Code::Unknown,
    };
    let mut answer = Status::new(code, "a fault is switched on").into_http::<axum::body::Body>();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Pool(AcquireError::Exhausted) => Self::unavailable(AcquireError::Exhausted.to_string()),
            Failure::Pool(AcquireError::Database(error)) => Self::internal(error.to_string()),
            Failure::Dependency(error) => Self::unavailable(error.to_string()),
            Failure::BadRequest(error) => Self::invalid_argument(error),
        }
    }
}

/// The wire side of a method with these messages.
fn wire<Answer, Asked>() -> Grpc<ProstCodec<Answer, Asked>>
where
    Answer: prost::Message + Send + 'static,
    Asked: prost::Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default())
}

/// A function as tonic wants its methods.
struct Method<F>(F);

impl<F, Asked, Answered, Answer> Service<tonic::Request<Asked>> for Method<F>
where
    F: FnMut(Asked) -> Answered,
    Answered: Future<Output = Result<Answer, Status>> + Send + 'static,
{
    type Response = tonic::Response<Answer>;
    type Error = Status;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Asked>) -> Self::Future {
        let answered = (self.0)(request.into_inner());
        Box::pin(async move { answered.await.map(tonic::Response::new) })
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn the_methods_are_those_of_the_schema() {
        let pool = DescriptorPool::decode(compile().unwrap().as_slice()).unwrap();
        let services = pool.services();
        let paths: Vec<String> = services
            .flat_map(|service| service.methods().map(|method| format!("/{}/{}", service.full_name(), method.name())).collect::<Vec<_>>())
            .collect();
        assert_eq!(paths, METHODS);
    }
}
