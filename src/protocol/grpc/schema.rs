//! The schema of a service: `.proto` files compiled without `protoc`, or descriptors that a server has told. Finds services and methods,
//! and says what is wrong with a name or a file. Reads files, touches no network; `plimsoll check` uses it as it stands.

use std::path::{Path, PathBuf};

use prost_reflect::{DescriptorPool, ServiceDescriptor};

use super::method::Method;
use crate::registry::{nearest, suggest};

/// What is wrong with a schema, or with what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError {
    /// The `.proto` file to blame: the path as given, or the name under which it was imported.
    pub file: Option<String>,
    /// Line and column in it, from 1.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl std::error::Error for SchemaError {}

impl std::fmt::Display for SchemaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.file, self.place) {
            (Some(file), Some((line, column))) => write!(f, "{file}:{line}:{column}: {}", self.message),
            (Some(file), None) => write!(f, "{file}: {}", self.message),
            (None, _) => f.write_str(&self.message),
        }
    }
}

impl SchemaError {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { file: None, place: None, message: message.into(), hint: hint.into() }
    }
}

/// Services and their messages. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Schema {
    pool: DescriptorPool,
}

/// Compiles `.proto` files with everything that they import. Imports are looked for in `includes`, then in the folders of the files
/// themselves; Google's well-known types are built in.
pub fn load(files: &[PathBuf], includes: &[PathBuf]) -> Result<Schema, SchemaError> {
    if let Some(include) = includes.iter().find(|include| !include.is_dir()) {
        return Err(SchemaError::new(format!("`{}` is not a folder", include.display()), "`include` names folders with `.proto` files"));
    }
    let mut folders = includes.to_vec();
    for file in files {
        if let Err(error) = std::fs::File::open(file) {
            return Err(SchemaError::new(format!("`{}` cannot be read: {error}", file.display()), "check the path and its permissions"));
        }
        // A file below one of the folders has its name from there; under two names it would be declared twice.
        let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
        if !folders.iter().any(|known| file.starts_with(known)) {
            folders.push(folder);
        }
    }
    let compiled = protox::Compiler::new(&folders).and_then(|mut compiler| {
        compiler.include_imports(true).open_files(files)?;
        Ok(compiler.descriptor_pool())
    });
    compiled.map(|pool| Schema { pool }).map_err(|error| blame(&error, files))
}

/// The compiler's error as a place, a message and what to do.
fn blame(error: &protox::Error, files: &[PathBuf]) -> SchemaError {
    let message = error.to_string();
    let named = error.file();
    // The place stands in the debug form only: `name:line:column: message`.
    let shown = format!("{error:?}");
    let place = named.and_then(|name| {
        let mut numbers = shown.strip_prefix(name)?.strip_prefix(':')?.splitn(3, ':');
        Some((numbers.next()?.trim().parse().ok()?, numbers.next()?.trim().parse().ok()?))
    });
    let hint = if message.starts_with("import '") {
        "name the folder below which the imported file lies in `include`"
    } else if message.contains("is shadowed by") {
        "name the folder that both lie below in `include`, or rename one of them"
    } else if message.contains("not found") {
        "declare it, or import the file that does"
    } else {
        "correct the file; `proto2` and `proto3` are understood"
    };
    let path_of = |name: &str| files.iter().find(|path| path.ends_with(name)).map_or(name.to_owned(), |path| path.display().to_string());
    SchemaError { file: named.map(path_of), place, message, hint: hint.into() }
}

/// Service and method of `package.Service/Method`.
pub fn split_call(call: &str) -> Result<(&str, &str), SchemaError> {
    let bad = || SchemaError::new(format!("`{call}` is not a method"), "write `package.Service/Method`");
    let (service, method) = call.trim_start_matches('/').split_once('/').ok_or_else(bad)?;
    if service.is_empty() || method.is_empty() || method.contains('/') { Err(bad()) } else { Ok((service, method)) }
}

impl Schema {
    /// From what a server has told about itself.
    pub(super) fn from_pool(pool: DescriptorPool) -> Self {
        Self { pool }
    }

    /// Full names of all services.
    pub fn services(&self) -> Vec<String> {
        self.pool.services().map(|service| service.full_name().to_owned()).collect()
    }

    /// A method by the full name of its service and its own.
    pub fn method(&self, service: &str, method: &str) -> Result<Method, SchemaError> {
        let found = self.service(service)?;
        if let Some(descriptor) = found.methods().find(|known| known.name() == method) {
            return Ok(Method::new(descriptor));
        }
        let methods: Vec<String> = found.methods().map(|known| known.name().to_owned()).collect();
        let hint = suggest(method, methods.iter().map(String::as_str));
        Err(SchemaError::new(format!("the service `{service}` has no method `{method}`"), hint))
    }

    fn service(&self, name: &str) -> Result<ServiceDescriptor, SchemaError> {
        if let Some(found) = self.pool.get_service_by_name(name) {
            return Ok(found);
        }
        Err(SchemaError::new(format!("there is no service `{name}` in the schema"), service_hint(name, &self.services())))
    }
}

/// What to do about a service that is not there: the whole name of one that was named without its package, or a similar one.
pub(super) fn service_hint(name: &str, known: &[String]) -> String {
    let last = |full: &str| full.rsplit('.').next().unwrap_or_default().to_owned();
    let same_end = known.iter().find(|full| nearest(&last(name), [last(full).as_str()]).is_some());
    match same_end {
        Some(full) => format!("did you mean `{full}`?"),
        None => suggest(name, known.iter().map(String::as_str)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = r#"
        syntax = "proto3";
        package shop.v1;
        import "google/protobuf/timestamp.proto";
        import "types/money.proto";
        service Orders {
          rpc Place(Order) returns (Receipt);
          rpc Follow(Order) returns (stream Receipt);
          rpc Fill(stream Order) returns (Receipt);
          rpc Talk(stream Order) returns (stream Receipt);
        }
        message Order { string user = 1; types.Money price = 2; google.protobuf.Timestamp at = 3; }
        message Receipt { int64 number = 1; }
    "#;
    const MONEY: &str = "syntax = \"proto3\"; package types; message Money { int64 cents = 1; }";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn compiles_files_with_their_imports() {
        let folder = folder(&[("api/orders.proto", EVENTS), ("lib/types/money.proto", MONEY)]);
        let schema = load(&[folder.path().join("api/orders.proto")], &[folder.path().join("lib")]).unwrap();
        assert_eq!(schema.services(), ["shop.v1.Orders"]);
        let kinds: Vec<&str> = ["Place", "Follow", "Fill", "Talk"].map(|name| schema.method("shop.v1.Orders", name).unwrap().kind()).into();
        assert_eq!(kinds, ["unary", "server streaming", "client streaming", "bidirectional"]);
    }

    #[test]
    fn a_file_below_an_include_folder_is_named_from_there() {
        let user = "syntax = \"proto3\"; import \"types/money.proto\"; service S { rpc M(types.Money) returns (types.Money); }";
        let folder = folder(&[("a/b/user.proto", user), ("a/types/money.proto", MONEY)]);
        let files = [folder.path().join("a/b/user.proto"), folder.path().join("a/types/money.proto")];
        let schema = load(&files, &[folder.path().join("a")]).unwrap();
        assert_eq!(schema.services(), ["S"]);
    }

    #[test]
    fn mistakes_have_a_place_and_say_what_to_do() {
        let folder = folder(&[
            ("syntax.proto", "syntax = \"proto3\";\nmessage A {\n  string name 1;\n}\n"),
            ("import.proto", "syntax = \"proto3\";\n\nimport \"types/money.proto\";\n"),
            ("unknown.proto", "syntax = \"proto3\";\nmessage A {\n  Money price = 1;\n}\n"),
            ("twice.proto", "syntax = \"proto3\";\nmessage A { string a = 1; int32 b = 1; }\n"),
            ("x/same.proto", "syntax = \"proto3\"; message B {}"),
            ("y/same.proto", "syntax = \"proto3\"; message C {}"),
        ]);
        let told = |names: &[&str]| {
            let files: Vec<PathBuf> = names.iter().map(|name| folder.path().join(name)).collect();
            let error = load(&files, &[]).unwrap_err();
            let root = format!("{}/", folder.path().display());
            (error.to_string().replace(&root, ""), error.hint)
        };
        for (names, message, hint) in [
            (&["syntax.proto"][..], "syntax.proto:3:15: expected '=', but found '1'", "correct the file"),
            (&["import.proto"], "import.proto:3:1: import 'types/money.proto' not found", "name the folder below which"),
            (&["unknown.proto"], "unknown.proto:3:3: name 'Money' is not defined", ""),
            (&["twice.proto"], "twice.proto:2:", ""),
            (&["absent.proto"], "`absent.proto` cannot be read: No such file", "check the path"),
            (&["x/same.proto", "y/same.proto"], "same.proto: path '", "name the folder that both lie below"),
        ] {
            let told = told(names);
            assert!(told.0.contains(message) && told.1.starts_with(hint), "{names:?}: {told:?}");
        }
        let error = load(&[], &[folder.path().join("syntax.proto")]).unwrap_err();
        assert!(error.message.ends_with("syntax.proto` is not a folder"), "{error}");
    }

    #[test]
    fn a_misspelt_name_is_told_with_the_nearest() {
        let folder = folder(&[("orders.proto", EVENTS), ("types/money.proto", MONEY)]);
        let schema = load(&[folder.path().join("orders.proto")], &[]).unwrap();
        for (service, method, message, hint) in [
            ("shop.v1.Orders", "Plcae", "the service `shop.v1.Orders` has no method `Plcae`", "did you mean `Place`?"),
            ("shop.v1.Orders", "Remove", "has no method `Remove`", "known: `Place`, `Follow`, `Fill`, `Talk`"),
            ("Orders", "Place", "there is no service `Orders` in the schema", "did you mean `shop.v1.Orders`?"),
            ("shop.v1.Oders", "Place", "no service `shop.v1.Oders`", "did you mean `shop.v1.Orders`?"),
            ("x.Y", "Place", "no service `x.Y`", "known: `shop.v1.Orders`"),
        ] {
            let error = schema.method(service, method).unwrap_err();
            assert!(error.message.contains(message), "{error}");
            assert_eq!(error.hint, hint);
        }
    }

    #[test]
    fn a_call_is_a_service_and_a_method() {
        assert_eq!(split_call("a.b.C/D"), Ok(("a.b.C", "D")));
        assert_eq!(split_call("/a.b.C/D"), Ok(("a.b.C", "D")));
        for bad in ["a.b.C.D", "a/", "/D", "a/b/c", ""] {
            assert_eq!(split_call(bad).unwrap_err().hint, "write `package.Service/Method`", "{bad}");
        }
    }
}
