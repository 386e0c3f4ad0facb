//! What people want of alerts: silences, their early end, and that somebody takes care of an incident. What is asked for is stored
//! before it is answered, with who asked.

use tokio::sync::oneshot;

use super::Alerting;
use crate::alert::NotAcked;
use crate::engine::handle::Refusal;
use crate::engine::windows::SHOWN_FOR;
use crate::model::muting::{Ack, Silence};

/// Something that is asked of alerting.
#[derive(Debug)]
pub enum AlertWish {
    /// Silence alerts.
    Silence(Box<Silence>, oneshot::Sender<Result<Silence, Refusal>>),
    /// End a silence now; the second field says who.
    Expire(String, String, oneshot::Sender<Result<Silence, Refusal>>),
    /// Take care of an incident; the answer is which ones.
    Acknowledge(String, Ack, oneshot::Sender<Result<Vec<String>, Refusal>>),
}

impl AlertWish {
    /// Tells whoever asked that it is not done.
    pub fn refuse(self, refusal: Refusal) {
        // Whoever asked may have gone.
        match self {
            Self::Silence(_, answer) | Self::Expire(_, _, answer) => drop(answer.send(Err(refusal))),
            Self::Acknowledge(_, _, answer) => drop(answer.send(Err(refusal))),
        }
    }
}

impl Alerting {
    /// Does what is asked for and answers.
    pub(super) async fn asked(&mut self, wish: AlertWish) {
        if !self.judging {
            wish.refuse(Refusal::NotNow("this daemon does not judge alerts at present".into()));
            return;
        }
        match wish {
            AlertWish::Silence(silence, answer) => {
                let done = self.silence(*silence).await;
                let _ = answer.send(done);
            }
            AlertWish::Expire(id, by, answer) => {
                let done = self.expire(&id, &by).await;
                let _ = answer.send(done);
            }
            AlertWish::Acknowledge(incident, ack, answer) => {
                let done = self.alerts.acknowledge(&incident, &ack).map_err(|error| match error {
                    NotAcked::Unknown(_) | NotAcked::Ambiguous(_) => Refusal::Unknown(error.to_string()),
                    NotAcked::Already(_) => Refusal::NotNow(error.to_string()),
                });
                if let Ok(incidents) = &done {
                    tracing::info!(by = ack.by, incidents = incidents.join(", "), comment = ack.comment, "incidents are taken care of");
                }
                // Stored before it is answered, as everything that is shown to somebody.
                self.decide().await;
                let _ = answer.send(done);
            }
        }
    }

    async fn silence(&mut self, silence: Silence) -> Result<Silence, Refusal> {
        let now = self.parts.clock.now();
        silence.check(now).map_err(Refusal::BadRequest)?;
        self.keep(&silence).await?;
        tracing::info!(
            id = silence.id,
            author = silence.author,
            matchers = crate::model::muting::show_matchers(&silence.matchers),
            until = %silence.ends_at,
            comment = silence.comment,
            "alerts are silenced"
        );
        self.silences.push(silence.clone());
        self.decide().await;
        Ok(silence)
    }

    async fn expire(&mut self, id: &str, by: &str) -> Result<Silence, Refusal> {
        let now = self.parts.clock.now();
        let found = self.silences.iter().find(|silence| silence.id == id).cloned();
        let mut silence = found.ok_or_else(|| Refusal::Unknown(format!("there is no silence `{id}`")))?;
        if silence.ends_at <= now {
            return Err(Refusal::NotNow(format!("the silence is over since {}", silence.ends_at)));
        }
        silence.ends_at = now;
        silence.starts_at = silence.starts_at.min(now);
        silence.ended_by = Some(by.to_owned());
        self.keep(&silence).await?;
        tracing::info!(id, by, "a silence was ended");
        self.silences.retain(|other| other.id != id);
        self.silences.push(silence.clone());
        self.decide().await;
        Ok(silence)
    }

    async fn keep(&self, silence: &Silence) -> Result<(), Refusal> {
        self.parts.store.save_silence(silence).await.map_err(|error| {
            self.parts.metrics.storage_error("save_silence");
            Refusal::NotNow(format!("it could not be stored: {error}"))
        })
    }

    /// Forgets silences that are long over.
    pub(super) fn tidy_silences(&mut self) {
        let now = self.parts.clock.now();
        self.silences.retain(|silence| silence.ends_at.plus(SHOWN_FOR) > now);
    }
}
