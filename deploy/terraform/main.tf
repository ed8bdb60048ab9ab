# Workers on EC2 that follow the work: an autoscaling group that tracks seconds of work for each slot.
#
# This was checked against AWS's own service model, and never applied to an account: read the plan
# before you apply it. Somebody has to publish the metric: `breakbulk autoscale --provider cloudwatch`,
# on one machine that stays, such as the one of the dashboard.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

resource "aws_iam_role" "worker" {
  name = var.name
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "worker" {
  name = var.name
  role = aws_iam_role.worker.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["ssm:GetParameter"]
        Resource = ["arn:aws:ssm:${data.aws_region.this.name}:${data.aws_caller_identity.this.account_id}:parameter${var.environment_parameter}"]
      },
      {
        Effect   = "Allow"
        Action   = ["autoscaling:CompleteLifecycleAction"]
        Resource = [aws_autoscaling_group.worker.arn]
      },
    ]
  })
}

resource "aws_iam_instance_profile" "worker" {
  name = var.name
  role = aws_iam_role.worker.name
}

resource "aws_launch_template" "worker" {
  name_prefix   = "${var.name}-"
  image_id      = var.image_id
  instance_type = var.instance_type

  iam_instance_profile {
    arn = aws_iam_instance_profile.worker.arn
  }

  # IMDSv2 only, which is how a worker asks whether its instance is to go.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 2
  }

  vpc_security_group_ids = var.security_group_ids

  user_data = base64encode(templatefile("${path.module}/user_data.sh", {
    environment_parameter = var.environment_parameter
    group                 = var.name
    hook                  = "hand-on"
    region                = data.aws_region.this.name
  }))
}

resource "aws_autoscaling_group" "worker" {
  name                      = var.name
  min_size                  = 1
  max_size                  = var.max_size
  vpc_zone_identifier       = var.subnet_ids
  health_check_type         = "EC2"
  health_check_grace_period = 120
  default_instance_warmup   = 120
  # A spot instance that is likely to go is replaced before it does.
  capacity_rebalance    = true
  termination_policies  = ["OldestLaunchTemplate", "Default"]
  max_instance_lifetime = 604800

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = 1
      on_demand_percentage_above_base_capacity = 0
      spot_allocation_strategy                 = "price-capacity-optimized"
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.worker.id
        version            = "$Latest"
      }
    }
  }
}

# An instance that is to go waits until its worker has handed its work on, or the time is over. The
# worker sees it in the instance's metadata (BREAKBULK_NODE=ec2) and ends; user_data.sh says so.
resource "aws_autoscaling_lifecycle_hook" "worker" {
  name                   = "hand-on"
  autoscaling_group_name = aws_autoscaling_group.worker.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  heartbeat_timeout      = var.grace_seconds
  default_result         = "CONTINUE"
}

# Seconds of work for each slot that there is: halves when the slots double, as target tracking wants.
resource "aws_autoscaling_policy" "backlog" {
  name                   = "${var.name}-backlog"
  autoscaling_group_name = aws_autoscaling_group.worker.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.target_seconds

    customized_metric_specification {
      namespace   = "Breakbulk"
      metric_name = "BacklogSecondsPerSlot"
      statistic   = "Average"

      metric_dimension {
        name  = "Queue"
        value = var.queue
      }
    }
  }
}
