//! Upstreams as clients of other dialects see them: what cannot be tested without a surface.

mod anthropic;
mod bedrock;
mod cohere;
mod gemini;
mod openai;
mod simulator;
mod vertex;
