job "web" {
  group "g" {
    task "app" {
      driver = "docker"
      user   = "1000"
      config {
        image      = "x"  # the image
        privileged = true
        cap_add    = ["sys_ptrace", "net_admin"] # caps
        security_opt = ["seccomp=unconfined"]
      }
    }
  }
}
