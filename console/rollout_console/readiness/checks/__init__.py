"""Everything that can be tested before traffic: each rule with a name, a reason, what to do."""
