//! What was promised, beside what was measured.

/// One line of the table of goals.
pub struct Goal {
    pub what: String,
    pub goal: String,
    pub measured: String,
    /// None where it was not measured.
    pub met: Option<bool>,
}

impl Goal {
    /// A figure that is to be `bound` at least.
    pub fn at_least(what: &str, bound: f64, measured: Option<f64>, unit: &str) -> Goal {
        Goal::of(what, format!("at least {bound}{unit}"), measured, unit, |value| value >= bound)
    }

    /// A figure that is to be `bound` at most.
    pub fn at_most(what: &str, bound: f64, measured: Option<f64>, unit: &str) -> Goal {
        Goal::of(what, format!("at most {bound}{unit}"), measured, unit, |value| value <= bound)
    }

    pub fn unmeasured(self) -> Goal {
        Goal { measured: "not measured".into(), met: None, ..self }
    }

    fn of(what: &str, goal: String, measured: Option<f64>, unit: &str, holds: impl Fn(f64) -> bool) -> Goal {
        let shown = measured.map_or("not measured".into(), |value| format!("{value:.2}{unit}"));
        Goal { what: what.into(), goal, measured: shown, met: measured.map(holds) }
    }

    pub fn row(&self) -> Vec<String> {
        let met = match self.met {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "",
        };
        vec![self.what.clone(), self.goal.clone(), self.measured.clone(), met.into()]
    }
}
