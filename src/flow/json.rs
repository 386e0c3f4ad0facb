//! Several JSON paths answered by reading a body once. Paths of names and indices (`$.user.items[0]`) are picked out while it is read,
//! without keeping the rest; any other path of RFC 9535 needs the whole document.

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json_path::JsonPath;

/// JSON paths, each known by the number that `add` returned.
#[derive(Debug, Default)]
pub(super) struct Paths {
    list: Vec<Path>,
    tree: Tree,
    /// At least one path needs the whole document.
    whole: bool,
}

#[derive(Debug)]
struct Path {
    text: String,
    simple: Option<Vec<Selector>>,
    query: JsonPath,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Selector {
    Name(String),
    Index(usize),
}

/// Simple paths by their first selectors.
#[derive(Debug, Default)]
struct Tree {
    /// Paths that end here.
    ends: Vec<usize>,
    names: Vec<(String, Tree)>,
    indices: Vec<(usize, Tree)>,
}

/// What the paths found in one body; used again for the next, so that texts keep their memory.
#[derive(Debug, Default)]
pub(super) struct Found {
    slots: Vec<(bool, Value)>,
    document: Option<Value>,
}

impl Paths {
    /// Adds a path; the same one again gets the same number. `Err` says why it is none.
    pub(super) fn add(&mut self, text: &str) -> Result<usize, String> {
        if let Some(known) = self.list.iter().position(|path| path.text == text) {
            return Ok(known);
        }
        let query = JsonPath::parse(text).map_err(|error| format!("`{text}` is not a JSON path: {error}"))?;
        let simple = simple(text);
        let number = self.list.len();
        match &simple {
            Some(selectors) => self.tree.add(selectors, number),
            None => self.whole = true,
        }
        self.list.push(Path { text: text.into(), simple, query });
        Ok(number)
    }

    /// Reads a body; false when it is not JSON.
    pub(super) fn read(&self, body: &[u8], found: &mut Found) -> bool {
        found.document = None;
        found.slots.resize(self.list.len(), (false, Value::Null));
        found.slots.iter_mut().for_each(|slot| slot.0 = false);
        // Texts that are passed over are not looked at closely, so that their UTF-8 is checked here, once for all.
        let Ok(text) = std::str::from_utf8(body) else { return false };
        if self.whole {
            found.document = serde_json::from_str(text).ok();
            return found.document.is_some();
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = Picker { tree: &self.tree, slots: &mut found.slots }.deserialize(&mut reader).and_then(|()| reader.end());
        if read.is_err() {
            found.slots.iter_mut().for_each(|slot| slot.0 = false);
        }
        read.is_ok()
    }

    /// The first node that a path found.
    pub(super) fn get<'f>(&self, number: usize, found: &'f Found) -> Option<&'f Value> {
        let Some(document) = &found.document else { return found.slots.get(number).filter(|slot| slot.0).map(|slot| &slot.1) };
        let path = self.list.get(number)?;
        match &path.simple {
            Some(selectors) => select(document, selectors),
            None => path.query.query(document).first(),
        }
    }
}

fn select<'v>(document: &'v Value, selectors: &[Selector]) -> Option<&'v Value> {
    selectors.iter().try_fold(document, |value, selector| match selector {
        Selector::Name(name) => value.as_object()?.get(name),
        Selector::Index(index) => value.as_array()?.get(*index),
    })
}

/// The selectors of a path that has only plain names and indices.
fn simple(path: &str) -> Option<Vec<Selector>> {
    let mut rest = path.strip_prefix('$')?;
    let mut selectors = Vec::new();
    while !rest.is_empty() {
        if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if end == 0 || name.starts_with(|c: char| c.is_ascii_digit()) || !name[..end].chars().all(plain) {
                return None;
            }
            selectors.push(Selector::Name(name[..end].into()));
            rest = &name[end..];
        } else {
            let (inside, after) = rest.strip_prefix('[')?.split_once(']')?;
            let quoted = ['\'', '"'].into_iter().find_map(|quote| inside.strip_prefix(quote)?.strip_suffix(quote));
            selectors.push(match quoted {
                Some(name) if !name.contains(['\\', '\'', '"', '[']) => Selector::Name(name.into()),
                Some(_) => return None,
                None => Selector::Index(inside.parse().ok().filter(|_| inside.bytes().all(|byte| byte.is_ascii_digit()))?),
            });
            rest = after;
        }
    }
    Some(selectors)
}

impl Tree {
    fn add(&mut self, selectors: &[Selector], number: usize) {
        let Some((first, rest)) = selectors.split_first() else { return self.ends.push(number) };
        match first {
            Selector::Name(name) => branch(&mut self.names, name).add(rest, number),
            Selector::Index(index) => branch(&mut self.indices, index).add(rest, number),
        }
    }

    /// Nothing is found below here any more: a member that comes twice counts with its last value.
    fn forget(&self, slots: &mut [(bool, Value)]) {
        self.ends.iter().for_each(|end| slots[*end].0 = false);
        let names = self.names.iter().map(|(_, tree)| tree);
        names.chain(self.indices.iter().map(|(_, tree)| tree)).for_each(|tree| tree.forget(slots));
    }

    /// Takes what lies below a value that had to be kept as a whole.
    fn pick(&self, value: &Value, slots: &mut [(bool, Value)]) {
        for end in &self.ends {
            slots[*end] = (true, value.clone());
        }
        for (name, tree) in &self.names {
            if let Some(member) = value.as_object().and_then(|members| members.get(name)) {
                tree.pick(member, slots);
            }
        }
        for (index, tree) in &self.indices {
            if let Some(item) = value.as_array().and_then(|items| items.get(*index)) {
                tree.pick(item, slots);
            }
        }
    }
}

fn branch<'t, K: Clone + PartialEq>(branches: &'t mut Vec<(K, Tree)>, key: &K) -> &'t mut Tree {
    let at = branches.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
        branches.push((key.clone(), Tree::default()));
        branches.len() - 1
    });
    &mut branches[at].1
}

/// Reads one value of the document: keeps what paths end at, goes on where they lead, passes over the rest.
struct Picker<'t, 's> {
    tree: &'t Tree,
    slots: &'s mut [(bool, Value)],
}

impl<'de> DeserializeSeed<'de> for Picker<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        let tree = self.tree;
        if tree.ends.is_empty() && tree.names.is_empty() && tree.indices.is_empty() {
            IgnoredAny::deserialize(reader).map(drop)
        } else {
            reader.deserialize_any(self)
        }
    }
}

impl Picker<'_, '_> {
    /// Keeps a value for the paths that end here or lead on.
    fn keep(self, value: Value) {
        match self.tree.ends.as_slice() {
            [end] if self.tree.names.is_empty() && self.tree.indices.is_empty() => self.slots[*end] = (true, value),
            _ => self.tree.pick(&value, self.slots),
        }
    }
}

impl<'de> Visitor<'de> for Picker<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.keep(Value::Null);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.keep(Value::Bool(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.keep(Value::from(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.keep(Value::from(value));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.keep(Value::from(value));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        for end in &self.tree.ends {
            let slot = &mut self.slots[*end];
            slot.0 = true;
            if let Value::String(old) = &mut slot.1 {
                old.clear();
                old.push_str(text);
            } else {
                slot.1 = Value::String(text.into());
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if !self.tree.ends.is_empty() {
            let value = Value::deserialize(SeqAccessDeserializer::new(items))?;
            self.keep(value);
            return Ok(());
        }
        let mut index = 0;
        loop {
            let next = match self.tree.indices.iter().find(|(wanted, _)| *wanted == index) {
                Some((_, tree)) => items.next_element_seed(Picker { tree, slots: &mut *self.slots })?,
                None => items.next_element::<IgnoredAny>()?.map(drop),
            };
            if next.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        if !self.tree.ends.is_empty() {
            let value = Value::deserialize(MapAccessDeserializer::new(members))?;
            self.keep(value);
            return Ok(());
        }
        while let Some(known) = members.next_key_seed(Key(&self.tree.names))? {
            match known.and_then(|at| self.tree.names.get(at)) {
                Some((_, tree)) => {
                    tree.forget(self.slots);
                    members.next_value_seed(Picker { tree, slots: &mut *self.slots })?;
                }
                None => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// Finds a member's name among those that are wanted, without keeping it.
struct Key<'t>(&'t [(String, Tree)]);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Option<usize>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|(wanted, _)| wanted == name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const PATHS: [&str; 12] =
        ["$", "$.a", "$.a.b", "$.a[0]", "$[1].a", "$['a']['b c']", "$.b[2][0]", "$.a.a", "$..b", "$.a[-1]", "$.b[?@.a]", "$[\"b\"]"];

    fn paths(list: &[&str]) -> Paths {
        let mut paths = Paths::default();
        for (number, path) in list.iter().enumerate() {
            assert_eq!(paths.add(path), Ok(number));
        }
        paths
    }

    #[test]
    fn only_plain_names_and_indices_are_simple() {
        let all: Vec<bool> = PATHS.iter().map(|path| simple(path).is_some()).collect();
        assert_eq!(all, [true, true, true, true, true, true, true, true, false, false, false, true]);
        assert_eq!(simple("$.a['b.c'][10]").unwrap(), [Selector::Name("a".into()), Selector::Name("b.c".into()), Selector::Index(10)]);
        for path in ["$.*", "$[*]", "$[0:2]", "$['a','b']", "$[+1]", "$.a-b", "$.1"] {
            assert_eq!(simple(path), None, "{path}");
        }
        assert!(Paths::default().add("nope[").unwrap_err().contains("`nope[` is not a JSON path"));
        let mut twice = paths(&["$.a"]);
        assert_eq!(twice.add("$.a"), Ok(0));
    }

    #[test]
    fn picks_out_what_is_asked_for_and_checks_the_rest() {
        let paths = paths(&["$.user.id", "$.items[1].name", "$.items", "$.gone"]);
        let mut found = Found::default();
        let body = br#" {"user": {"id": 7, "x": "\u00e9"}, "items": [{"name": "a"}, {"name": "b\n"}], "z": [1e5, {}, null]} "#;
        assert!(paths.read(body, &mut found));
        let get = |number| paths.get(number, &found).cloned();
        assert_eq!((get(0), get(1), get(3)), (Some(json!(7)), Some(json!("b\n")), None));
        assert_eq!(get(2), Some(json!([{"name": "a"}, {"name": "b\n"}])));
        for broken in ["", "{", "{\"user\": {\"id\": 7}", "{\"user\": {\"id\": 7}} x", "{\"a\": nope}", "{\"user\": {\"id\": \"\u{1}\"}}"] {
            assert!(!paths.read(broken.as_bytes(), &mut found), "{broken}");
            assert_eq!(paths.get(0, &found), None);
        }
        assert!(!paths.read(b"{\"x\": \"\xff\"}", &mut found));
        assert!(paths.read(br#"{"user": {"id": 1}, "user": {}}"#, &mut found));
        assert_eq!(paths.get(0, &found), None);
    }

    fn documents() -> impl Strategy<Value = Value> {
        let name = prop::sample::select(vec!["a", "b", "b c"]).prop_map(str::to_owned);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            let members = prop::collection::vec((name.clone(), inner.clone()), 0..4);
            let object = members.prop_map(|members| Value::Object(members.into_iter().collect()));
            prop_oneof![prop::collection::vec(inner, 0..4).prop_map(Value::Array), object]
        })
    }

    proptest! {
        #[test]
        fn finds_what_the_library_finds(document in documents(), first in prop::sample::subsequence(PATHS.to_vec(), 0..8), second in documents()) {
            let paths = paths(&first);
            let mut found = Found::default();
            for document in [document, second] {
                let body = document.to_string();
                prop_assert!(paths.read(body.as_bytes(), &mut found));
                let document: Value = serde_json::from_str(&body).unwrap();
                for (number, path) in first.iter().enumerate() {
                    let expected = JsonPath::parse(path).unwrap().query(&document).first();
                    prop_assert_eq!(paths.get(number, &found), expected, "{} in {}", path, document);
                }
            }
        }

        #[test]
        fn agrees_with_the_library_on_what_is_json(body in "[\\[\\]{}\",:0-9a-z \\\\.eE+-]{0,20}") {
            let mut found = Found::default();
            let parsed = serde_json::from_str::<Value>(&body);
            // What is passed over is not made into a number.
            prop_assume!(!parsed.as_ref().is_err_and(|error| error.to_string().contains("out of range")));
            let is_json = parsed.is_ok();
            prop_assert_eq!(paths(&["$.a"]).read(body.as_bytes(), &mut found), is_json);
            prop_assert_eq!(Paths::default().read(body.as_bytes(), &mut found), is_json);
        }
    }
}
