-- One refresh after the other, with the body in $BODY; prints requests per second, or fails when one was refused.
wrk.method = "POST"
wrk.body = os.getenv("BODY")
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"

function done(summary, _, _)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format("rate %.1f failed %d", summary.requests / summary.duration * 1e6, failed))
end
