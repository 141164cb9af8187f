
pub mod limits;
pub mod upstream;
pub mod access;
