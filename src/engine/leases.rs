//! Which process loads a host: a target's limits are kept by the process that loads it, so of all processes on one database one does at
//! a time. The lease belongs to the process and is named after the base address, so that two names of one host share it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::owner::{is_gone, life_of};
use crate::model::profile::Target;
use crate::store::{Owner, Store, StoreResult};

/// How long giving a lease back may take; what takes longer is tried again later.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// What of a target is loaded by one process at a time: host and port of its base address; without one, all it may reach.
pub fn place_of(target: &Target) -> String {
    let base = target.base_url.as_ref().and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
    base.unwrap_or_else(|| {
        let mut hosts = target.hosts();
        hosts.sort();
        hosts.dedup();
        if hosts.is_empty() { target.name.clone() } else { hosts.join(",") }
    })
    .to_lowercase()
}

fn lease_of(place: &str) -> String {
    format!("load {place}")
}

/// The leases of this process.
pub struct Leases {
    store: Arc<dyn Store>,
    /// By place; false: nothing loads it any more, and it could not be given back. Locked through each change, so that the end of one
    /// run does not give back what the next one has just taken.
    held: Mutex<BTreeMap<String, bool>>,
}

impl Leases {
    /// None so far.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, held: Mutex::default() }
    }

    /// Takes the place of a target for a run. `Some` says in one sentence which process loads it, and with which run. A process that
    /// is gone loads nothing: what it had is free.
    pub async fn take(&self, target: &Target) -> StoreResult<Option<String>> {
        let place = place_of(target);
        let mut held = self.held.lock().await;
        // A second look once whoever had it turned out to be gone.
        for _ in 0..2 {
            let Some(holder) = self.store.hold(&lease_of(&place)).await? else {
                held.insert(place, true);
                return Ok(None);
            };
            let seen = self.store.owners().await?.into_iter().find(|seen| seen.owner.id == holder.id);
            match seen.filter(|seen| is_gone(seen, life_of(&seen.owner))) {
                Some(gone) => drop(self.store.dismiss(&[(gone.owner.id, gone.beat)]).await?),
                None => return self.who(&holder, target, &place).await.map(Some),
            }
        }
        Ok(Some(format!("another process is loading target `{}` ({place})", target.name)))
    }

    /// Who loads a place, since when and with what.
    async fn who(&self, holder: &Owner, target: &Target, place: &str) -> StoreResult<String> {
        let runs = self.store.loads(&holder.id).await?;
        let run = runs.iter().find(|run| run.target == target.name).or_else(|| runs.first());
        let what = run.map_or_else(|| "a run that begins".to_owned(), |run| format!("run {}, since {},", run.run, run.started_at));
        Ok(format!("{what} of another process, {} (process {}), is loading target `{}` ({place})", holder.host, holder.pid, target.name))
    }

    /// Gives a place back after a run. When the database does not take it, [`Leases::tidy`] does it later.
    pub async fn give_back(&self, place: &str) {
        let mut held = self.held.lock().await;
        if let Some(in_use) = held.get_mut(place) {
            *in_use = false;
            self.release_unused(&mut held).await;
        }
    }

    /// Gives back what could not be given back before; says which places that are loaded from here another process has by now: it took
    /// this one for gone, because it had been held up.
    pub async fn tidy(&self) -> Vec<String> {
        let mut held = self.held.lock().await;
        self.release_unused(&mut held).await;
        let mut lost = Vec::new();
        for place in held.keys() {
            if let Ok(Ok(Some(_))) = timeout(GIVE_BACK, self.store.hold(&lease_of(place))).await {
                lost.push(place.clone());
            }
        }
        lost
    }

    async fn release_unused(&self, held: &mut BTreeMap<String, bool>) {
        let unused: Vec<String> = held.iter().filter(|(_, in_use)| !**in_use).map(|(place, _)| place.clone()).collect();
        for place in unused {
            match timeout(GIVE_BACK, self.store.release(&lease_of(&place))).await {
                Ok(Ok(())) => drop(held.remove(&place)),
                Ok(Err(error)) => tracing::warn!(place, %error, "other processes cannot load this yet: it could not be given back"),
                Err(_) => tracing::warn!(place, "other processes cannot load this yet: the database does not answer"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_of_one_host_are_one_place() {
        let target = |name: &str, base: Option<&str>, allow: &[&str]| Target {
            name: name.into(),
            base_url: base.map(|text| text.parse().unwrap()),
            environment: String::new(),
            allow: allow.iter().map(ToString::to_string).collect(),
            limits: crate::model::profile::Limits::default(),
            version: None,
            tls: crate::model::request::TlsOptions::default(),
        };
        assert_eq!(place_of(&target("a", Some("http://Shop.internal/x"), &["z:1"])), "shop.internal:80");
        assert_eq!(place_of(&target("b", Some("http://shop.internal:80/y"), &[])), "shop.internal:80");
        assert_eq!(place_of(&target("c", None, &["y:2", "x:1", "y:2"])), "x:1,y:2");
        assert_eq!(place_of(&target("d", None, &[])), "d");
    }
}
