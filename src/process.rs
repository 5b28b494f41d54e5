//! Children in process groups of their own.
