//! Server reflection: asks a server for the schema of its services, once, when a run starts (`grpc.reflection.v1`, else `v1alpha`, whose
//! messages are the same). A server that does not offer it is a failure that says so.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message;
use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::FileDescriptorProto;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use super::client::{GrpcClient, Outgoing, Returned};
use super::method::framed;
use super::ready::{constant_headers, uri_of};
use super::schema::{Schema, service_hint};
use super::status::{self, Shown, UNIMPLEMENTED};
use crate::model::failure::Reason;
use crate::model::request::{GrpcRequest, GrpcStream};
use crate::protocol::dial::{Broken, Origin};

/// The services that offer reflection, most wanted first.
const SERVICES: [&str; 2] = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
/// Largest message of a server about itself.
const MAX_MESSAGE: u64 = 64 << 20;
/// How often a server is asked for imports of what it told before.
const ROUNDS: usize = 64;
/// Not found, as reflection says it.
const NOT_FOUND: i32 = 5;

/// Why a server's schema is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReflectionError {
    /// It does not offer reflection.
    #[error("{0} offers no server reflection; switch it on there, or name the `.proto` files in `proto`")]
    Absent(String),
    /// It does not have the service.
    #[error("{target} does not have the service `{service}`; {hint}")]
    UnknownService {
        /// Host and port.
        target: String,
        /// The service.
        service: String,
        /// The nearest one, or all that there are.
        hint: String,
    },
    /// It could not be asked.
    #[error("{target} could not be asked for its schema ({reason}): {message}")]
    Failed {
        /// Host and port.
        target: String,
        /// Why, in one word.
        reason: Reason,
        /// Why, for people.
        message: String,
    },
    /// What it told cannot be used.
    #[error("the schema that {target} told cannot be used: {message}")]
    Unusable {
        /// Host and port.
        target: String,
        /// Why.
        message: String,
    },
}

/// Asks the server of `requests`, which all go to the same origin, for the schema of their services. Their constant metadata and
/// credentials are sent along (those of the first). `timeout` is for each question.
pub async fn reflect(client: &mut GrpcClient, requests: &[&GrpcRequest], timeout: Duration) -> Result<Schema, ReflectionError> {
    let Some(first) = requests.first() else { return Ok(Schema::from_pool(DescriptorPool::new())) };
    let target = first.origin.authority().to_owned();
    let unusable = |message: String| ReflectionError::Unusable { target: target.clone(), message };
    let origin = Origin::of(&first.origin).ok_or_else(|| unusable("the address has no host".into()))?;
    let (headers, _) = constant_headers(first, timeout, false).map_err(&unusable)?;
    let mut asking = Asking { client, origin, headers, timeout, target: target.clone(), service: SERVICES[0] };

    let services: BTreeSet<&str> = requests.iter().map(|request| request.service.as_str()).collect();
    let questions = services.iter().map(|service| MessageRequest::FileContainingSymbol((*service).to_owned())).collect();
    let mut files = BTreeMap::new();
    for (service, answer) in services.iter().zip(asking.ask(questions).await?) {
        match answer {
            MessageResponse::FileDescriptorResponse(found) => take(&mut files, &found.file_descriptor_proto).map_err(&unusable)?,
            MessageResponse::ErrorResponse(error) if error.error_code == NOT_FOUND => return Err(asking.unknown(service).await?),
            other @ (MessageResponse::ErrorResponse(_)
            | MessageResponse::AllExtensionNumbersResponse(_)
            | MessageResponse::ListServicesResponse(_)) => {
                return Err(unusable(format!("asked for `{service}`, it answered {}", said(&other))));
            }
        }
    }
    asking.imports(&mut files).await?;
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_protos(files.into_values()).map_err(|error| unusable(error.to_string()))?;
    Ok(Schema::from_pool(pool))
}

/// Adds files to those that are known.
fn take(files: &mut BTreeMap<String, FileDescriptorProto>, told: &[Vec<u8>]) -> Result<(), String> {
    for bytes in told {
        let file = FileDescriptorProto::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
        files.insert(file.name().to_owned(), file);
    }
    Ok(())
}

/// What an answer that was not expected says.
fn said(answer: &MessageResponse) -> String {
    match answer {
        MessageResponse::ErrorResponse(error) => format!("with the error {}: {}", error.error_code, error.error_message),
        MessageResponse::FileDescriptorResponse(_)
        | MessageResponse::AllExtensionNumbersResponse(_)
        | MessageResponse::ListServicesResponse(_) => "something else".into(),
    }
}

struct Asking<'a> {
    client: &'a mut GrpcClient,
    origin: Origin,
    headers: http::HeaderMap,
    timeout: Duration,
    target: String,
    /// The service that offers reflection here.
    service: &'static str,
}

impl Asking<'_> {
    /// Asks these questions in one call; as many answers come.
    async fn ask(&mut self, questions: Vec<MessageRequest>) -> Result<Vec<MessageResponse>, ReflectionError> {
        let wanted = questions.len();
        let message = |question| ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let frames: Vec<_> = questions.into_iter().map(|question| framed(&message(question))).collect();
        let returned = loop {
            let returned = self.call(&frames).await?;
            match &returned.answer {
                Ok(answer) if answer.status == status::OK => break returned,
                Ok(answer) if answer.status == UNIMPLEMENTED => match SERVICES.iter().skip_while(|name| **name != self.service).nth(1) {
                    Some(next) => self.service = next,
                    None => return Err(ReflectionError::Absent(self.target.clone())),
                },
                Ok(answer) => {
                    let message = format!("status {}: {}", Shown(answer.status), answer.message);
                    return Err(self.failed(Reason::GrpcStatus(answer.status), message));
                }
                Err(Broken(reason, message)) => return Err(self.failed(reason.clone(), message.clone())),
            }
        };
        let answers = returned.answers.kept.iter().map(|bytes| ServerReflectionResponse::decode(bytes.clone()));
        let answers: Result<Vec<_>, _> = answers.map(|answer| answer.map(|answer| answer.message_response)).collect();
        let answers = answers.map_err(|error| self.unusable(error.to_string()))?;
        let answers: Vec<MessageResponse> = answers.into_iter().flatten().collect();
        if answers.len() != wanted {
            return Err(self.unusable(format!("{} answers came to {wanted} questions", answers.len())));
        }
        Ok(answers)
    }

    async fn call(&mut self, frames: &[bytes::Bytes]) -> Result<Returned, ReflectionError> {
        let uri = uri_of(&self.origin, &format!("/{}/ServerReflectionInfo", self.service)).map_err(|error| self.unusable(error))?;
        let outgoing = Outgoing {
            origin: &self.origin,
            uri,
            headers: Cow::Borrowed(&self.headers),
            frames: Cow::Borrowed(frames),
            timeout: self.timeout,
            keep: true,
            max_message: MAX_MESSAGE,
            stream: GrpcStream::default(),
        };
        Ok(self.client.make(outgoing).await)
    }

    /// Asks for imports until none is missing. Google's well-known types are known here, should the server not have them.
    async fn imports(&mut self, files: &mut BTreeMap<String, FileDescriptorProto>) -> Result<(), ReflectionError> {
        for _ in 0..ROUNDS {
            let imported = files.values().flat_map(|file| &file.dependency);
            let missing: BTreeSet<String> = imported.filter(|name| !files.contains_key(*name)).cloned().collect();
            if missing.is_empty() {
                return Ok(());
            }
            let questions = missing.iter().cloned().map(MessageRequest::FileByFilename).collect();
            for (name, answer) in missing.iter().zip(self.ask(questions).await?) {
                let known = DescriptorPool::global().get_file_by_name(name);
                match (answer, known) {
                    (MessageResponse::FileDescriptorResponse(found), _) => {
                        take(files, &found.file_descriptor_proto).map_err(|error| self.unusable(error))?;
                    }
                    (_, Some(known)) => _ = files.insert(name.clone(), known.file_descriptor_proto().clone()),
                    (other, None) => return Err(self.unusable(format!("asked for the file `{name}`, it answered {}", said(&other)))),
                }
                if !files.contains_key(name) {
                    return Err(self.unusable(format!("asked for the file `{name}`, it told others")));
                }
            }
        }
        Err(self.unusable(format!("its imports have no end after {ROUNDS} rounds")))
    }

    /// The error about a service that is not there; `Err` when the server does not say which ones it has.
    async fn unknown(&mut self, service: &str) -> Result<ReflectionError, ReflectionError> {
        let answers = self.ask(vec![MessageRequest::ListServices(String::new())]).await?;
        let known: Vec<String> = match answers.into_iter().next() {
            Some(MessageResponse::ListServicesResponse(list)) => list.service.into_iter().map(|service| service.name).collect(),
            _ => Vec::new(),
        };
        let own = |name: &String| name.starts_with("grpc.reflection.");
        let known: Vec<String> = known.into_iter().filter(|name| !own(name)).collect();
        let (target, service) = (self.target.clone(), service.to_owned());
        let hint = service_hint(&service, &known);
        Ok(ReflectionError::UnknownService { target, service, hint })
    }

    fn failed(&self, reason: Reason, message: String) -> ReflectionError {
        ReflectionError::Failed { target: self.target.clone(), reason, message }
    }

    fn unusable(&self, message: String) -> ReflectionError {
        ReflectionError::Unusable { target: self.target.clone(), message }
    }
}
