//! `POST`, `PATCH` and `DELETE` under `/v1/admin`: one path for all twelve resources.

use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn};
use events::event::StreamKind;
use openapi::{Api, Entrance};

use super::AdminState;
use super::described;
use super::execution::{CommandTo, execute};
use super::rejected::noted;
use super::request::AdminRequest;
use super::resource_kind::ResourceKind;

/// The routes that change resources of one kind.
pub fn resource_routes(of: &'static ResourceKind) -> Api<AdminState> {
    let one = format!("{}/{{id}}", of.path);
    let create = async move |State(admin): State<AdminState>, request: AdminRequest| {
        execute(&admin, &request, CommandTo::new(of)).await
    };
    let change = async move |State(admin): State<AdminState>, Path(id): Path<String>, request: AdminRequest| {
        execute(&admin, &request, CommandTo::existing(of, of.change, &id)).await
    };
    let end = async move |State(admin): State<AdminState>, Path(id): Path<String>, request: AdminRequest| {
        execute(&admin, &request, CommandTo::end(of, &id)).await
    };
    let routes = Api::of(Entrance::Administration)
        .post(of.path, create, || described::creation(of.declared))
        .patch(&one, change, || described::change(of.declared))
        .delete(&one, end, || described::end(of.declared));
    changes_of(of.kind, routes)
}

/// The same routes, whose refusals say that they are about a resource of this kind.
pub fn changes_of<S: Clone + Send + Sync + 'static>(kind: StreamKind, routes: Api<S>) -> Api<S> {
    routes.layer(from_fn(move |request: Request, next: Next| noted(kind, request, next)))
}
