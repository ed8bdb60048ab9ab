variable "name" {
  description = "What everything is called."
  type        = string
  default     = "shop-worker"
}

variable "image_id" {
  description = "An AMI with the application, its virtual environment and the units of deploy/systemd."
  type        = string
}

variable "instance_type" {
  description = "One slot a virtual processor is a good beginning: c7g.xlarge has four."
  type        = string
  default     = "c7g.xlarge"
}

variable "subnet_ids" {
  description = "Where instances are started; database and broker must be reachable from there."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Of the instances."
  type        = list(string)
}

variable "environment_parameter" {
  description = "SSM parameter (SecureString) with the lines of /etc/shop/environment."
  type        = string
}

variable "queue" {
  description = "The Celery queue whose backlog decides."
  type        = string
  default     = "celery"
}

variable "max_size" {
  description = "Instances at most."
  type        = number
  default     = 20
}

variable "target_seconds" {
  description = "Seconds of work in the ledger for each slot that are all right."
  type        = number
  default     = 300
}

variable "grace_seconds" {
  description = "How long an instance may take to hand its work on; TimeoutStopSec of the unit."
  type        = number
  default     = 300
}
