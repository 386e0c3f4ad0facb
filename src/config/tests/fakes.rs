//! Kinds of probes and channels that read settings and do nothing.

use std::sync::Arc;

use crate::config::Kinds;
use crate::notify::{ChannelSettings, Notifier, NotifyParts};
use crate::probe::{Probe, ProbeParts, ProbeSettings};
use crate::registry::{Context, Decode, Kind, Named, Node, Secret, WebUrl};
use crate::settings;

settings! {
    /// A page.
    struct PageKeys titled "the probe" {
        /// Address of the page.
        url: required WebUrl,
        /// Pools.
        pools: default Vec<Node>,
    }
}

settings! {
    /// A process.
    struct ProcessKeys titled "the probe" {
        /// Port.
        port: optional u16,
        /// Name.
        name: optional String,
    }
}

settings! {
    /// Mail.
    struct MailKeys titled "the channel" {
        /// Receivers.
        to: default Vec<String>,
        /// Sender.
        from: optional String,
        /// Server.
        smtp: default Named<Node>,
        /// Folder instead of a server.
        path: optional String,
    }
}

settings! {
    /// A hook.
    struct HookKeys titled "the channel" {
        /// Address.
        webhook_url: secret Secret,
        /// Address.
        url: secret Secret,
    }
}

macro_rules! fake_probe {
    ($keys:ident, $($field:ident),*) => {
        impl ProbeSettings for $keys {
            fn open(&self, _parts: &ProbeParts) -> Box<dyn Probe> {
                unimplemented!("never opened")
            }
            fn describe(&self) -> String {
                format!("{:?}", ($(&self.$field,)*))
            }
        }
    };
}
fake_probe!(PageKeys, url, pools);
fake_probe!(ProcessKeys, port, name);

macro_rules! fake_channel {
    ($keys:ident, $($field:ident),*) => {
        impl ChannelSettings for $keys {
            fn connect(&self, _parts: &NotifyParts) -> Result<Arc<dyn Notifier>, String> {
                Err("never connected".into())
            }
            fn describe(&self) -> String {
                format!("{:?}", ($(&self.$field,)*))
            }
        }
    };
}
fake_channel!(MailKeys, to, from, smtp, path);
fake_channel!(HookKeys, webhook_url, url);

fn probe<T: Decode + ProbeSettings + 'static>(node: &Node, cx: &mut Context<'_>) -> Option<Arc<dyn ProbeSettings>> {
    T::decode(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>)
}

fn channel<T: Decode + ChannelSettings + 'static>(node: &Node, cx: &mut Context<'_>) -> Option<Arc<dyn ChannelSettings>> {
    T::decode(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ChannelSettings>)
}

static PROBES: &[Kind<dyn ProbeSettings>] = &[
    Kind { name: "prometheus", summary: "Reads a page.", decode: probe::<PageKeys>, keys: PageKeys::keys },
    Kind { name: "process", summary: "Reads a process.", decode: probe::<ProcessKeys>, keys: ProcessKeys::keys },
];

static CHANNELS: &[Kind<dyn ChannelSettings>] = &[
    Kind { name: "email", summary: "Mail.", decode: channel::<MailKeys>, keys: MailKeys::keys },
    Kind { name: "slack", summary: "Slack.", decode: channel::<HookKeys>, keys: HookKeys::keys },
    Kind { name: "webhook", summary: "A hook.", decode: channel::<HookKeys>, keys: HookKeys::keys },
    Kind { name: "file", summary: "A folder.", decode: channel::<MailKeys>, keys: MailKeys::keys },
];

/// The tables.
pub(super) fn kinds() -> Kinds {
    Kinds { probes: PROBES, channels: CHANNELS }
}
