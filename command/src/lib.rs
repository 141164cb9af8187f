
pub mod limits;
pub mod upstream;
