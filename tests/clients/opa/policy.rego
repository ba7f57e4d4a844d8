package agent.tools

default allow := false

allow if input.tool == "lookup_order"

decision := {"allow": false, "action": "deny", "reasons": ["refund exceeds limit"]} if {
	input.tool == "issue_refund"
	input.args.amount > 50
}
