//! What the gateway promises, seen from outside: these tests start the built binary, speak HTTP to it, put a mock
//! provider behind it, kill it, and read its log and its databases. Names are sentences about behaviour.

mod books;
mod client;
mod cors;
mod gateway;
mod tenant;
mod upstream;

mod abandoned;
mod answers;
mod bad_input;
mod bad_upstreams;
mod budgets;
mod commands;
mod configuration;
mod conventions;
mod crashes;
mod fair_queries;
mod file_modes;
mod hostile;
mod isolation;
mod keys;
mod limits;
mod me;
mod metrics;
mod mixed_load;
mod models;
mod moved_providers;
mod one_request;
mod openapi;
mod prices;
mod promises;
mod queries;
mod rebuild;
mod refusals;
mod retries;
mod routing;
mod secrets;
mod short_budgets;
mod shutdown;
mod tenancy;
mod traces;
mod trouble;
mod unknown_paths;
mod verify;
mod views;
