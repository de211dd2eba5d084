"""A team's app in the receiver that is fuzzed: subscriptions that look into payloads in each way there is."""
