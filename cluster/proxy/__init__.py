"""Services to packet rules: `services` and `ruleset` decide purely, `diff` finds the change, the applier writes nftables."""
