# `/`, and `/slow`, which takes a while
run lambda { |env|
  sleep 0.3 if env["PATH_INFO"] == "/slow"
  [200, { "content-type" => "text/plain", "content-length" => "6" }, ["hello\n"]]
}
