//! `settings!` and `choice!`: one declaration gives a type, how it is read, its JSON Schema and its reference.
//! No logic of their own: they expand to what `decode` offers.

/// Declares a settings struct: the type, how it is read (all mistakes at once, unknown keys refused), its JSON Schema and its reference.
///
/// Each field is `name [as "keyInFile"]: MODE Type [= default]`, MODE being `required`, `optional` (gives `Option<Type>`),
/// `default` (needs `= value`, or nothing for `Type::default()`), or `secret` (gives `Option<Secret>`, read from `name` or `name_file`).
#[macro_export]
macro_rules! settings {
    ($(#[doc = $doc:literal])* $(#[derive($($derive:ident),*)])? $vis:vis struct $name:ident titled $title:literal {
        $( $(#[doc = $fdoc:literal])* $field:ident $(as $key:literal)? : $mode:ident $ty:ty $(= $default:expr)? ),* $(,)?
    }) => {
        $(#[doc = $doc])*
        #[allow(unreachable_pub, clippy::allow_attributes)]
        #[derive(Debug, Clone $($(, $derive)*)?)]
        $vis struct $name { $( $(#[doc = $fdoc])* pub $field: $crate::settings!(@type $mode $ty), )* }

        impl $crate::registry::Decode for $name {
            fn decode(node: &$crate::registry::Node, cx: &mut $crate::registry::Context<'_>) -> Option<Self> {
                #[allow(unused_mut, clippy::allow_attributes)]
                let mut section = $crate::registry::Section::open(node, $title, cx)?;
                $( let $field = $crate::settings!(@read section cx $mode $ty, $crate::settings!(@key $field $($key)?), $crate::settings!(@file $field $($key)?) $(, $default)?); )*
                section.finish(cx);
                Some(Self { $( $field: $crate::settings!(@unwrap $mode $field), )* })
            }
            fn schema() -> serde_json::Value {
                $crate::registry::object_schema(&$crate::registry::join_doc(&[$($doc),*]), &Self::keys())
            }
        }

        #[allow(unreachable_pub, clippy::vec_init_then_push, clippy::allow_attributes)]
        impl $name {
            /// The keys of this section, for the schema and the reference.
            #[allow(clippy::vec_init_then_push, clippy::allow_attributes)]
            pub fn keys() -> Vec<$crate::registry::KeyDoc> {
                #[allow(unused_mut, clippy::allow_attributes)]
                let mut keys: Vec<$crate::registry::KeyDoc> = Vec::new();
                $( $crate::settings!(@doc keys $mode $ty, $crate::settings!(@key $field $($key)?), $crate::settings!(@file $field $($key)?), [$($fdoc),*] $(, $default)?); )*
                keys
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@file $field:ident) => { concat!(stringify!($field), "_file") };
    (@file $field:ident $key:literal) => { concat!($key, "_file") };
    (@type required $ty:ty) => { $ty };
    (@type default $ty:ty) => { $ty };
    (@type optional $ty:ty) => { Option<$ty> };
    (@type secret $ty:ty) => { Option<$ty> };
    (@read $s:ident $cx:ident required $ty:ty, $key:expr, $file:expr) => { $s.required::<$ty>($key, $cx) };
    (@read $s:ident $cx:ident optional $ty:ty, $key:expr, $file:expr) => { $s.optional::<$ty>($key, $cx) };
    (@read $s:ident $cx:ident secret $ty:ty, $key:expr, $file:expr) => { $s.secret($key, $file, $cx) };
    (@read $s:ident $cx:ident default $ty:ty, $key:expr, $file:expr, $default:expr) => { $s.optional::<$ty>($key, $cx).unwrap_or_else(|| $default) };
    (@read $s:ident $cx:ident default $ty:ty, $key:expr, $file:expr) => { $s.optional::<$ty>($key, $cx).unwrap_or_default() };
    (@unwrap required $field:ident) => { $field? };
    (@unwrap $mode:ident $field:ident) => { $field };
    (@doc $keys:ident secret $ty:ty, $key:expr, $file:expr, [$($doc:literal),*]) => {
        $keys.push($crate::registry::KeyDoc { key: $key, doc: $crate::registry::join_doc(&[$($doc),*]), required: false, default: None, schema: <$ty as $crate::registry::Decode>::schema() });
        $keys.push($crate::registry::KeyDoc { key: $file, doc: format!("File that holds `{}`.", $key), required: false, default: None, schema: serde_json::json!({"type": "string"}) });
    };
    (@doc $keys:ident $mode:ident $ty:ty, $key:expr, $file:expr, [$($doc:literal),*] $(, $default:expr)?) => {
        $keys.push($crate::registry::KeyDoc { key: $key, doc: $crate::registry::join_doc(&[$($doc),*]), required: stringify!($mode) == "required", default: $crate::settings!(@default $($default)?), schema: <$ty as $crate::registry::Decode>::schema() });
    };
    (@default) => { None };
    (@default $default:expr) => { Some(stringify!($default)) };
}

/// Declares an enum that is written as one of a few words.
#[macro_export]
macro_rules! choice {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $( $(#[doc = $doc:literal])* $variant:ident = $word:literal ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        $vis enum $name { $( $(#[doc = $doc])* #[serde(rename = $word)] $variant, )* }

        #[allow(unreachable_pub, dead_code, clippy::allow_attributes)]
        impl $name {
            /// All variants, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word as written in files, stores and labels.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }

            /// The variant written as `word`.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $( $word => Some(Self::$variant), )* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl $crate::registry::Decode for $name {
            fn decode(node: &$crate::registry::Node, cx: &mut $crate::registry::Context<'_>) -> Option<Self> {
                let text = <String as $crate::registry::Decode>::decode(node, cx)?;
                let found = Self::parse(&text);
                if found.is_none() {
                    cx.diagnostics.push("unknown-word", node.span, format!("`{text}` is not known here"), $crate::registry::suggest(&text, [$($word),*]));
                }
                found
            }
            fn schema() -> serde_json::Value {
                serde_json::json!({"enum": [$($word),*]})
            }
        }
    };
}
