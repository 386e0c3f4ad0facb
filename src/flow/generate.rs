//! Makes up the values of generators from a VU's own random numbers.

use rand::RngExt;
use rand::rngs::SmallRng;

const FIRST_NAMES: [&str; 32] = [
    "Ada", "Alan", "Amina", "Anna", "Barbara", "Ben", "Carla", "Chen", "David", "Dorothy", "Edsger", "Elena", "Fatima", "Frances", "Grace",
    "Hana", "Ivan", "Jamal", "Jean", "Karen", "Leslie", "Lin", "Margaret", "Mary", "Niklaus", "Olga", "Paul", "Radia", "Samir", "Tony",
    "Vera", "Yuki",
];

const LAST_NAMES: [&str; 32] = [
    "Abebe", "Allen", "Backus", "Bauer", "Brooks", "Castro", "Clarke", "Dahl", "Engel", "Fischer", "Garcia", "Hamilton", "Hopper", "Ito",
    "Jensen", "Keller", "Kim", "Lamport", "Liskov", "Moreau", "Nguyen", "Novak", "Okafor", "Perlman", "Ritchie", "Rossi", "Sato", "Silva",
    "Tanaka", "Turing", "Wilkes", "Zhang",
];

const LETTERS_AND_DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

fn pick<'a>(random: &mut SmallRng, list: &[&'a str]) -> &'a str {
    list.get(random.random_range(0..list.len())).copied().unwrap_or_default()
}

pub(super) fn first_name(random: &mut SmallRng, out: &mut String) {
    out.push_str(pick(random, &FIRST_NAMES));
}

pub(super) fn last_name(random: &mut SmallRng, out: &mut String) {
    out.push_str(pick(random, &LAST_NAMES));
}

pub(super) fn name(random: &mut SmallRng, out: &mut String) {
    first_name(random, out);
    out.push(' ');
    last_name(random, out);
}

/// What makes an address one of its own: with the names there are 36^10 · 2^10, some 4 · 10^18 addresses, so that of a million two are
/// the same in one run of ten million (the birthday problem: n² / 2N).
const OWN_PART: usize = 10;

/// `grace.okafor.k3v9x0b2qz@example.com`: the domain is reserved (RFC 2606), so that no mail ever reaches anybody.
pub(super) fn email(random: &mut SmallRng, out: &mut String) {
    let start = out.len();
    first_name(random, out);
    out.push('.');
    last_name(random, out);
    if let Some(made) = out.get_mut(start..) {
        made.make_ascii_lowercase();
    }
    out.push('.');
    for _ in 0..OWN_PART {
        // Small letters and digits: the last 36.
        out.push(char::from(LETTERS_AND_DIGITS[random.random_range(26..LETTERS_AND_DIGITS.len())]));
    }
    out.push_str("@example.com");
}

pub(super) fn hex(random: &mut SmallRng, length: usize, out: &mut String) {
    let mut bits = 0_u64;
    for index in 0..length {
        if index % 16 == 0 {
            bits = random.random();
        }
        out.push(char::from(HEX_DIGITS[(bits & 15) as usize]));
        bits >>= 4;
    }
}

pub(super) fn alnum(random: &mut SmallRng, length: usize, out: &mut String) {
    for _ in 0..length {
        out.push(char::from(LETTERS_AND_DIGITS[random.random_range(0..LETTERS_AND_DIGITS.len())]));
    }
}

/// A random UUID (RFC 9562, 5.4).
pub(super) fn uuid(random: &mut SmallRng, out: &mut String) {
    let bits = (random.random::<u128>() & !(0xf << 76) & !(0b11 << 62)) | (0x4 << 76) | (0b10 << 62);
    for index in 0..32 {
        if matches!(index, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(char::from(HEX_DIGITS[((bits >> (4 * (31 - index))) & 15) as usize]));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use regex::Regex;

    use super::*;

    fn made(make: impl Fn(&mut SmallRng, &mut String), pattern: &str) {
        let pattern = Regex::new(pattern).unwrap();
        let mut random = SmallRng::seed_from_u64(1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let mut out = String::from("before ");
            make(&mut random, &mut out);
            let out = out.strip_prefix("before ").unwrap().to_owned();
            assert!(pattern.is_match(&out), "{out}");
            seen.insert(out);
        }
        assert!(seen.len() > 25, "{seen:?}");
    }

    #[test]
    fn what_is_made_up_has_its_form() {
        made(uuid, "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$");
        made(|random, out| hex(random, 37, out), "^[0-9a-f]{37}$");
        made(|random, out| alnum(random, 5, out), "^[0-9A-Za-z]{5}$");
        made(name, "^[A-Z][a-z]+ [A-Z][a-z]+$");
        made(first_name, "^[A-Z][a-z]+$");
        made(last_name, "^[A-Z][a-z]+$");
        made(email, r"^[a-z]+\.[a-z]+\.[0-9a-z]{10}@example\.com$");
    }

    #[test]
    fn addresses_of_two_hundred_thousand_registrations_are_all_different() {
        let mut random = SmallRng::seed_from_u64(7);
        let made = |_| {
            let mut out = String::new();
            email(&mut random, &mut out);
            out
        };
        let addresses: std::collections::HashSet<String> = (0..200_000).map(made).collect();
        assert_eq!(addresses.len(), 200_000);
    }
}
