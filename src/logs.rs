//! Log lines, as JSON for machines and calm ones for people.
