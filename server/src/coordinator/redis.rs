//! Instances on several machines, which meet in Redis.
//!
//! A lease per user names the life that leads, with its fence; a hash per user holds what each life needs; a stream per
//! instance holds the letters to it, so that one that was cut off reads on where it was. What must hold together is a
//! script. Keys of several users meet in one script: Redis Cluster cannot serve it, one primary can.

use std::{
    sync::{LazyLock, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use polytab_protocol::id::UserId;
use redis::{
    AsyncCommands, AsyncConnectionConfig, Client, ExistenceCheck, RedisError, RedisResult, Script, SetExpiry,
    SetOptions,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    streams::{StreamReadOptions, StreamReadReply},
};
use tokio::{sync::Mutex, time::timeout};

use super::{Coordinator, Fate, Letter, Life, Lost, Needs, Rank, Record, Sealed, Spans, Stamp, Standing};
use crate::{config::RedisUrl, hub::digest};

/// How long one read waits for letters.
const BLOCK: Duration = Duration::from_secs(2);
/// Letters per read.
const AT_ONCE: usize = 256;

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/claim.lua")));
static PUBLISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/publish.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/release.lua")));
static KEEP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/keep.lua")));
static UNLOCK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/unlock.lua")));

/// One instance's way to Redis.
pub(crate) struct Redis {
    instance: String,
    prefix: String,
    spans: Spans,
    client: Client,
    wire: std::sync::Mutex<Wire>,
    inbox: Mutex<Inbox>,
}

/// The connection for commands. One that went silent is never used again: it may be silent for as long as the kernel
/// has patience, a quarter of an hour.
#[derive(Clone)]
struct Wire {
    commands: ConnectionManager,
    /// Counts them.
    number: u64,
}

impl Wire {
    /// Connects when it is first used, and again whenever it breaks.
    fn new(client: &Client, number: u64, answer: Duration) -> Self {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(answer))
            .set_response_timeout(Some(answer))
            .set_number_of_retries(1);
        let commands = ConnectionManager::new_lazy_with_config(client.clone(), config)
            .expect("only a manager that resubscribes can be refused");
        Self { commands, number }
    }
}

/// Where this instance is in its letters.
#[derive(Default)]
struct Inbox {
    /// A connection of its own: a read that waits keeps all behind it waiting.
    connection: Option<MultiplexedConnection>,
    /// The last letter that was read.
    last: Option<String>,
}

impl std::fmt::Debug for Redis {
    // The address may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redis({})", self.instance)
    }
}

/// Error codes of a Redis server that answers and does not write: `maxmemory` is reached, it is a replica, it cannot save
/// to disk, it lost its replicas.
const READ_ONLY: [&str; 4] = ["OOM", "READONLY", "MISCONF", "NOREPLICAS"];

impl From<RedisError> for Lost {
    fn from(error: RedisError) -> Self {
        let is_read_only = error.code().is_some_and(|code| READ_ONLY.contains(&code));
        let refusal = if is_read_only {
            Self::ReadOnly
        } else {
            Self::Unreachable
        };
        refusal(error.to_string())
    }
}

impl Redis {
    /// Connects when it is first used.
    pub(crate) fn new(instance: &str, url: &RedisUrl, prefix: &str, spans: Spans) -> Self {
        let client = url.client();
        Self {
            instance: instance.to_owned(),
            prefix: prefix.to_owned(),
            spans,
            wire: std::sync::Mutex::new(Wire::new(&client, 0, spans.answer)),
            client,
            inbox: Mutex::default(),
        }
    }

    /// Waits for the answer to a command; not even for a connection that is being made any longer.
    async fn patiently<T>(
        &self,
        number: u64,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Lost> {
        match timeout(self.spans.answer, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if !error.is_timeout() => Err(error.into()),
            Ok(Err(_)) | Err(_) => {
                let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
                if wire.number == number {
                    *wire = Wire::new(&self.client, number + 1, self.spans.answer);
                }
                Err(Lost::Unreachable("no answer".to_owned()))
            }
        }
    }

    fn wire(&self) -> Wire {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn key(&self, kind: &str, name: &str) -> String {
        format!("{}:{kind}:{name}", self.prefix)
    }

    /// The keys of a user: lease and needs.
    fn keys(&self, user: &UserId) -> [String; 2] {
        let name = digest(&user.0);
        [self.key("lease", &name), self.key("needs", &name)]
    }

    async fn claim_now(&self, life: &Life, needs: &Needs, news: bool) -> Result<Standing, Lost> {
        let [lease, needs_of_all] = self.keys(&life.user);
        let mut script = CLAIM.key(lease);
        script
            .key(needs_of_all)
            .arg(&life.epoch)
            .arg(json(needs)?)
            .arg(millis(self.spans.lease))
            .arg(millis(self.spans.window))
            .arg(self.spans.letters)
            .arg(&self.prefix)
            .arg(&life.user.0)
            .arg(u8::from(news))
            .arg(json(&Record::Needs)?);
        let mut wire = self.wire();
        let answer: Vec<String> = self
            .patiently(wire.number, script.invoke_async(&mut wire.commands))
            .await?;
        let [now, fence, needs @ ..] = answer.as_slice() else {
            return Err(Lost::Unreachable("an answer of another form".to_owned()));
        };
        let mut others = Needs::default();
        for text in needs {
            let (lives, needs) = text.split_once(' ').unwrap_or_default();
            match serde_json::from_str::<Needs>(needs) {
                Ok(needs) if lives == "1" => others.add(needs),
                Ok(needs) => others.add(needs.of_the_lost()),
                // An instance of another version, during an update.
                Err(error) => tracing::warn!(%error, "cannot read what another instance needs"),
            }
        }
        Ok(Standing {
            rank: match fence.parse() {
                Ok(fence) => Rank::Leads(fence),
                Err(_) => Rank::Follows,
            },
            at: stamp(now)?,
            others,
        })
    }

    async fn publish_now(
        &self,
        by: Option<(&Life, Stamp)>,
        user: &UserId,
        record: &Record,
    ) -> Result<Fate, Lost> {
        let [lease, needs] = self.keys(user);
        let mut script = PUBLISH.key(lease);
        script
            .key(needs)
            .arg(by.map_or("", |(life, _)| &life.epoch))
            .arg(by.map_or(0, |(_, fence)| fence))
            .arg(millis(self.spans.window))
            .arg(self.spans.letters)
            .arg(&self.prefix)
            .arg(&user.0)
            .arg(json(record)?);
        let mut wire = self.wire();
        let answer: Option<String> = self
            .patiently(wire.number, script.invoke_async(&mut wire.commands))
            .await?;
        answer.map_or(Ok(Fate::Refused), |now| Ok(Fate::Taken(stamp(&now)?)))
    }

    async fn read_letters(&self) -> Result<Vec<Letter>, Lost> {
        let mut inbox = self.inbox.lock().await;
        let mut connection = match inbox.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let key = self.key("inbox", &self.instance);
        let options = StreamReadOptions::default()
            .block(usize::try_from(BLOCK.as_millis()).unwrap_or(usize::MAX))
            .count(AT_ONCE);
        // This instance's name is new: whatever there is was written for it.
        let last = inbox.last.clone().unwrap_or_else(|| "0".to_owned());
        let read: Option<StreamReadReply> = connection.xread_options(&[key], &[last], &options).await?;
        inbox.connection = Some(connection);
        let read = read
            .into_iter()
            .flat_map(|read| read.keys)
            .flat_map(|key| key.ids);
        let mut letters = Vec::new();
        for entry in read {
            let field = |name| entry.get::<String>(name).unwrap_or_default();
            let record = serde_json::from_str(&field("r"));
            match (record, stamp(&field("a"))) {
                (Ok(record), Ok(at)) => letters.push(Letter {
                    user: UserId(field("u")),
                    at,
                    record,
                }),
                (Err(error), _) => tracing::warn!(%error, "cannot read a letter of another instance"),
                (_, Err(error)) => tracing::warn!(%error, "cannot read a letter of another instance"),
            }
            inbox.last = Some(entry.id);
        }
        Ok(letters)
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Lost> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.spans.answer))
            .set_response_timeout(Some(BLOCK + self.spans.answer));
        Ok(self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Lost> {
    serde_json::to_string(value).map_err(|error| Lost::Unreachable(error.to_string()))
}

fn stamp(text: &str) -> Result<Stamp, Lost> {
    text.parse()
        .map_err(|_| Lost::Unreachable("an answer of another form".to_owned()))
}

/// The bytes that were kept: before them, and a blank, is their version.
fn without_version(held: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut held = held?;
    let blank = held.iter().position(|byte| *byte == b' ');
    held.drain(..blank.map_or(0, |at| at + 1));
    Some(held)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Coordinator for Redis {
    fn is_shared(&self) -> bool {
        true
    }

    fn claim<'a>(
        &'a self,
        life: &'a Life,
        needs: &'a Needs,
        news: bool,
    ) -> BoxFuture<'a, Result<Standing, Lost>> {
        Box::pin(self.claim_now(life, needs, news))
    }

    fn publish<'a>(
        &'a self,
        life: &'a Life,
        fence: Stamp,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Fate, Lost>> {
        Box::pin(self.publish_now(Some((life, fence)), &life.user, record))
    }

    fn release<'a>(&'a self, life: &'a Life) -> BoxFuture<'a, Result<(), Lost>> {
        Box::pin(async move {
            let [lease, needs] = self.keys(&life.user);
            let mut script = RELEASE.key(lease);
            script
                .key(needs)
                .arg(&life.epoch)
                .arg(millis(self.spans.window))
                .arg(self.spans.letters)
                .arg(&self.prefix)
                .arg(&life.user.0)
                .arg(json(&Record::Released)?);
            let mut wire = self.wire();
            self.patiently(wire.number, script.invoke_async(&mut wire.commands))
                .await
        })
    }

    fn post<'a>(&'a self, user: &'a UserId, record: &'a Record) -> BoxFuture<'a, Result<(), Lost>> {
        Box::pin(async move { self.publish_now(None, user, record).await.map(|_| ()) })
    }

    fn probe_write(&self) -> BoxFuture<'_, Result<(), Lost>> {
        Box::pin(async move {
            let mut wire = self.wire();
            let write =
                wire.commands
                    .pset_ex(self.key("probe", &self.instance), "", millis(self.spans.lease));
            self.patiently(wire.number, write).await
        })
    }

    fn letters(&self) -> BoxFuture<'_, Result<Vec<Letter>, Lost>> {
        Box::pin(self.read_letters())
    }

    fn keep<'a>(
        &'a self,
        name: &'a str,
        sealed: Sealed,
        life: Duration,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, Lost>> {
        Box::pin(async move {
            let mut script = KEEP.key(self.key("kept", name));
            script.arg(sealed.version).arg(sealed.bytes).arg(millis(life));
            let mut wire = self.wire();
            self.patiently(wire.number, script.invoke_async(&mut wire.commands))
                .await
        })
    }

    fn note_over<'a>(&'a self, name: &'a str, life: Duration) -> BoxFuture<'a, Result<(), Lost>> {
        Box::pin(async move {
            let mut wire = self.wire();
            let over = wire.commands.pset_ex(self.key("kept", name), "", millis(life));
            self.patiently(wire.number, over).await
        })
    }

    fn kept<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, Lost>> {
        Box::pin(async move {
            let mut wire = self.wire();
            let held = wire.commands.get(self.key("kept", name));
            Ok(without_version(self.patiently(wire.number, held).await?))
        })
    }

    fn lock<'a>(&'a self, name: &'a str, life: Duration) -> BoxFuture<'a, Result<bool, Lost>> {
        Box::pin(async move {
            let mut wire = self.wire();
            let options = SetOptions::default()
                .conditional_set(ExistenceCheck::NX)
                .with_expiration(SetExpiry::PX(millis(life)));
            let set: Option<String> = self
                .patiently(
                    wire.number,
                    wire.commands
                        .set_options(self.key("lock", name), &self.instance, options),
                )
                .await?;
            Ok(set.is_some())
        })
    }

    fn unlock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Lost>> {
        Box::pin(async move {
            let mut script = UNLOCK.key(self.key("lock", name));
            script.arg(&self.instance);
            let mut wire = self.wire();
            self.patiently(wire.number, script.invoke_async(&mut wire.commands))
                .await
        })
    }
}
