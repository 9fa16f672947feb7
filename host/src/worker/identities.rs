//! Who a module is that was called: [`Identity::called`], with the names that the broker has now.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use celeriac_broker::{Broker, BrokerError, Digest, ModuleName, ModuleRef};
use tokio::runtime::Handle;

use crate::policy::{Identity, Policy};

/// How long a name is believed to lead where it led. Names move by people's hands.
const BELIEVED: Duration = Duration::from_secs(1);

/// Finds out who modules are.
#[derive(Debug)]
pub(crate) struct Identities {
    broker: Arc<dyn Broker>,
    /// The runtime that talks to the broker: guest threads cannot.
    runtime: Handle,
    /// The names as they were a moment ago.
    names: Mutex<Option<(Instant, Arc<[ModuleName]>)>>,
}

impl Identities {
    /// Must be called on the runtime that talks to the broker.
    pub(crate) fn new(broker: Arc<dyn Broker>) -> Self {
        Self {
            broker,
            runtime: Handle::current(),
            names: Mutex::default(),
        }
    }

    /// Who was called. The broker is asked only where a grant depends on its answer (`needs_names`).
    pub(crate) async fn of(
        &self,
        called: &ModuleRef,
        digest: Digest,
        needs_names: bool,
    ) -> Result<Identity, BrokerError> {
        if !needs_names {
            return Ok(Identity::called(called, digest, &[]));
        }
        if let Some(names) = self.believed() {
            let identity = Identity::called(called, digest, &names);
            // What was not so a moment ago may have been pushed since: that is asked again.
            if identity.name.is_some() && !identity.versions.is_empty() {
                return Ok(identity);
            }
        }
        Ok(Identity::called(called, digest, &self.ask().await?))
    }

    fn believed(&self) -> Option<Arc<[ModuleName]>> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, names) = names.as_ref()?;
        (asked.elapsed() < BELIEVED).then(|| names.clone())
    }

    async fn ask(&self) -> Result<Arc<[ModuleName]>, BrokerError> {
        let broker = self.broker.clone();
        let asked = self.runtime.spawn(async move { broker.names().await });
        let names = asked.await.map_err(|error| BrokerError::Unavailable {
            address: self.broker.address(),
            reason: format!("the request was given up: {error}"),
        })??;
        let names: Arc<[ModuleName]> = names.into();
        let mut kept = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((Instant::now(), names.clone()));
        Ok(names)
    }
}

/// Whether what a policy grants depends on the broker's names: a claimed name always does, another only where there
/// are grants for versions of it.
pub(crate) fn needs_names(policy: &Policy, called: &ModuleRef) -> bool {
    match called {
        ModuleRef::Digest(None, _) => false,
        ModuleRef::Digest(Some(_), _) => !policy.grants().is_empty(),
        ModuleRef::Name(name) | ModuleRef::Version(name, _) => policy.names_versions_of(name),
    }
}
