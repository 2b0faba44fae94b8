//! Names of routes.

use super::Checker;
use crate::{
    scenario::{explain::Code, located::Located, problem::shown},
    suggest::choice,
};

/// What may stand where a route is named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// One route: `backend.sessions`.
    Route,
    /// Or a service: `keycloak`.
    RouteOrService,
    /// Or `all`.
    RouteServiceOrAll,
}

impl Checker<'_> {
    pub(super) fn route(&mut self, route: &Located<String>, naming: Naming) {
        let name = route.value.as_str();
        let services: Vec<_> = self
            .routes
            .iter()
            .filter_map(|route| route.split('.').next())
            .collect();
        let known = self.routes.contains(&name)
            || naming != Naming::Route && services.contains(&name)
            || naming == Naming::RouteServiceOrAll && name == "all";
        if known || self.routes.is_empty() {
            return;
        }
        let message = if services.contains(&name) {
            format!("`{name}` is a service; here one of its routes must be named")
        } else {
            format!("there is no route `{}`", shown(name))
        };
        let mut choices = self.routes.to_vec();
        if services.contains(&name) {
            choices.retain(|route| route.split('.').next() == Some(name));
        }
        // A word alone is more likely meant as the second half of a route than as anything near it.
        let half = choices.iter().find(|route| route.split('.').nth(1) == Some(name));
        let help = match half {
            Some(route) => Some(format!("did you mean `{route}`?")),
            None => choice(name, "the routes are", choices),
        };
        self.report(Code::UnknownRoute, route.at.clone(), message).help = help;
    }
}
