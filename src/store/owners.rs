//! Who works on the database: every process that runs load enlists, shows that it lives, and owns its runs and the messages it is
//! sending. What belongs to a process that is gone is freed, by whoever notices. Heartbeats are times of the database's clock, and
//! are compared for change only: clocks that differ, or jump, free nothing. docs/storage.md explains it under "Several daemons".

use async_trait::async_trait;

use super::dialect::{Columns, Dialect, params};
use super::shared::{SqlStore, Tx};
use super::{StoreError, StoreResult, journal, runs, sql};
use crate::model::finding::Finding;
use crate::model::run::{Run, RunId};
use crate::model::schedule::Tick;
use crate::model::units::Timestamp;

/// The lease of the daemon that is in charge: it alone fires schedules, judges alerts, sends messages and keeps house.
pub const CHARGE: &str = "charge";

/// A process that works on the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Unique for each start of the program.
    pub id: String,
    /// Name of its machine, for people.
    pub host: String,
    /// Process id on that machine.
    pub pid: u32,
    /// What tells this process from all others of the machine, whenever; see `engine::owner`.
    pub process: String,
    /// When it enlisted, by its own clock.
    pub started_at: Timestamp,
}

/// An enlisted process and how long ago it showed that it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The process.
    pub owner: Owner,
    /// Its last heartbeat, by the database's clock.
    pub beat: Timestamp,
    /// The database's clock now.
    pub now: Timestamp,
}

/// A run that a process has going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loading {
    /// The run.
    pub run: RunId,
    /// The name of its target, as that process knows it.
    pub target: String,
    /// When it began.
    pub started_at: Timestamp,
}

/// Owners, leases, and what is written in their name.
#[async_trait]
pub trait Ownership: Send + Sync {
    /// Registers this process: from now on the runs it starts and the messages it leases are its own.
    async fn enlist(&self, owner: &Owner) -> StoreResult<()>;
    /// Shows that this process lives; enlists it again when others thought it was gone. Does nothing when it never enlisted.
    async fn beat(&self) -> StoreResult<()>;
    /// All enlisted processes, this one included.
    async fn owners(&self) -> StoreResult<Vec<Seen>>;
    /// Forgets processes that are gone, each only if it has not shown life since; their leases and messages are free at once.
    /// Returns how many were forgotten.
    async fn dismiss(&self, gone: &[(String, Timestamp)]) -> StoreResult<usize>;
    /// Gives back what this process has, and forgets it: the orderly end.
    async fn resign(&self) -> StoreResult<()>;
    /// Takes a lease that nobody has, and says who has it now; `None` when this process has it.
    async fn hold(&self, lease: &str) -> StoreResult<Option<Owner>>;
    /// Gives a lease back, if this process has it.
    async fn release(&self, lease: &str) -> StoreResult<()>;
    /// The runs that an enlisted process has going on, newest first, at most 100.
    async fn loads(&self, owner: &str) -> StoreResult<Vec<Loading>>;
    /// Writes a run that begins and the record of its instant, or neither. `Duplicate` when a run was started for that instant,
    /// `NotInCharge` when another process is in charge.
    async fn start_due(&self, run: &Run, tick: &Tick) -> StoreResult<()>;
    /// Replaces everything about a run but its id and its start, and its findings of these methods, of any version, and of the same
    /// methods: all or nothing.
    async fn end_run(&self, run: &Run, methods: &[&str], findings: &[Finding]) -> StoreResult<()>;
}

#[async_trait]
impl<D: Dialect> Ownership for SqlStore<D> {
    async fn enlist(&self, owner: &Owner) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        save(&mut tx, owner).await?;
        tx.commit().await?;
        self.belongs_to(owner.clone());
        Ok(())
    }

    async fn beat(&self) -> StoreResult<()> {
        let Some(owner) = self.owner() else { return Ok(()) };
        let mut tx = self.writing().await?;
        save(&mut tx, &owner).await?;
        tx.commit().await
    }

    async fn owners(&self) -> StoreResult<Vec<Seen>> {
        let mut tx = self.reading().await?;
        tx.list(D::OWNERS, &[], |row| {
            let owner =
                Owner { id: row.string()?, host: row.string()?, pid: row.number()?, process: row.string()?, started_at: row.time()? };
            Ok(Seen { owner, beat: row.time()?, now: row.time()? })
        })
        .await
    }

    async fn dismiss(&self, gone: &[(String, Timestamp)]) -> StoreResult<usize> {
        let mut tx = self.writing().await?;
        let mut forgotten = 0;
        for (id, beat) in gone {
            if tx.execute(sql::DISMISS, params![id, *beat]).await? > 0 {
                free(&mut tx, id).await?;
                forgotten += 1;
            }
        }
        tx.commit().await?;
        Ok(forgotten)
    }

    async fn resign(&self) -> StoreResult<()> {
        let Some(owner) = self.owner() else { return Ok(()) };
        let mut tx = self.writing().await?;
        tx.execute(sql::RESIGN, params![&owner.id]).await?;
        free(&mut tx, &owner.id).await?;
        tx.commit().await
    }

    async fn hold(&self, lease: &str) -> StoreResult<Option<Owner>> {
        let Some(owner) = self.owner() else { return Err(StoreError::Other("only a process that has enlisted can hold a lease".into())) };
        let mut tx = self.writing().await?;
        tx.execute(D::HOLD, params![lease, &owner.id]).await?;
        let holder = tx
            .first(sql::HOLDER, params![lease], |row| {
                Ok(Owner {
                    id: row.string()?,
                    host: row.opt_string()?.unwrap_or_default(),
                    pid: row.opt_number()?.unwrap_or_default(),
                    process: String::new(),
                    started_at: row.opt_time()?.unwrap_or_default(),
                })
            })
            .await?;
        tx.commit().await?;
        Ok(holder.filter(|holder| holder.id != owner.id))
    }

    async fn release(&self, lease: &str) -> StoreResult<()> {
        let Some(owner) = self.owner() else { return Ok(()) };
        let mut tx = self.writing().await?;
        tx.execute(sql::RELEASE, params![lease, &owner.id]).await?;
        tx.commit().await
    }

    async fn loads(&self, owner: &str) -> StoreResult<Vec<Loading>> {
        let read = |row: &mut Columns<'_, D>| Ok(Loading { run: RunId(row.string()?), target: row.string()?, started_at: row.time()? });
        self.reading().await?.list(sql::LOADS, params![owner], read).await
    }

    async fn start_due(&self, run: &Run, tick: &Tick) -> StoreResult<()> {
        let owner = self.owner();
        let mut tx = self.writing().await?;
        check_charge(&mut tx, owner.as_ref()).await?;
        runs::start(&mut tx, run, owner.as_ref()).await?;
        if journal::save_tick(&mut tx, tick, owner.as_ref()).await? == 0 {
            return Err(StoreError::Duplicate(format!("a run of schedule {} for {}", tick.schedule, tick.due)));
        }
        tx.commit().await
    }

    async fn end_run(&self, run: &Run, methods: &[&str], findings: &[Finding]) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        runs::update(&mut tx, run).await?;
        journal::replace_findings(&mut tx, &run.id, methods, findings).await?;
        tx.commit().await
    }
}

async fn save<D: Dialect>(tx: &mut Tx<'_, D>, owner: &Owner) -> StoreResult<()> {
    tx.execute(D::BEAT, params![&owner.id, &owner.host, owner.pid, &owner.process, owner.started_at]).await.map(drop)
}

/// Gives back what a process held.
async fn free<D: Dialect>(tx: &mut Tx<'_, D>, id: &str) -> StoreResult<()> {
    tx.execute(sql::FREE_LEASES, params![id]).await?;
    tx.execute(sql::FREE_MESSAGES, params![id]).await.map(drop)
}

/// Refuses when another process is in charge: it has read the state of the alerts since, and what is decided here is not based on it.
pub(super) async fn check_charge<D: Dialect>(tx: &mut Tx<'_, D>, owner: Option<&Owner>) -> StoreResult<()> {
    let Some(owner) = owner else { return Ok(()) };
    match tx.number(sql::HELD_BY_OTHERS, params![CHARGE, &owner.id]).await? {
        0 => Ok(()),
        _ => Err(StoreError::NotInCharge),
    }
}
